{{- /* Annotations and labels that every CRD of ours has. */ -}}
{{- define "crds.metadata" -}}
annotations:
  linkerd.io/created-by: {{ include "crds.createdBy" . }}
labels:
  helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
  linkerd.io/control-plane-ns: {{ .Release.Namespace }}
{{- end -}}

{{- define "crds.createdBy" -}}
{{- if .Values.cliVersion -}}
linkerd/cli {{ .Values.cliVersion }}
{{- else -}}
linkerd/helm {{ .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The Gateway API's CRDs are shared with other controllers: Helm keeps them when we go. */ -}}
{{- define "crds.gatewayMetadata" -}}
annotations:
  api-approved.kubernetes.io: https://github.com/kubernetes-sigs/gateway-api/pull/2466
  gateway.networking.k8s.io/bundle-version: v1.1.1
  gateway.networking.k8s.io/channel: experimental
  helm.sh/resource-policy: keep
  linkerd.io/created-by: {{ include "crds.createdBy" . }}
labels:
  helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
  linkerd.io/control-plane-ns: {{ .Release.Namespace }}
{{- end -}}
