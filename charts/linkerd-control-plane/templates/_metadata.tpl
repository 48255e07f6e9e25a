{{- /* Names, labels and annotations that several objects share. */ -}}

{{- define "linkerd.createdBy" -}}
{{- if .Values.cliVersion -}}
linkerd/cli {{ .Values.cliVersion }}
{{- else -}}
linkerd/helm {{ .Values.linkerdVersion }}
{{- end -}}
{{- end -}}

{{- define "linkerd.trustDomain" -}}
{{ .Values.identityTrustDomain | default .Values.clusterDomain }}
{{- end -}}

{{- /* Labels of an object; a list [root, component]. */ -}}
{{- define "linkerd.labels" -}}
{{- $root := index . 0 -}}
linkerd.io/control-plane-component: {{ index . 1 }}
linkerd.io/control-plane-ns: {{ $root.Release.Namespace }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Labels of a workload, adding the well-known ones; a list [root, component, name]. */ -}}
{{- define "linkerd.workloadLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ index . 2 }}
app.kubernetes.io/part-of: Linkerd
app.kubernetes.io/version: {{ $root.Values.linkerdVersion }}
{{ include "linkerd.labels" . }}
{{- end -}}

{{- /* Labels of a meshed control-plane pod; a list [root, component]. */ -}}
{{- define "linkerd.podLabels" -}}
{{- $root := index . 0 -}}
linkerd.io/control-plane-component: {{ index . 1 }}
linkerd.io/control-plane-ns: {{ $root.Release.Namespace }}
linkerd.io/workload-ns: {{ $root.Release.Namespace }}
linkerd.io/proxy-deployment: linkerd-{{ index . 1 }}
{{- with merge (dict) $root.Values.podLabels $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Annotations of a meshed control-plane pod. */ -}}
{{- define "linkerd.podAnnotations" -}}
linkerd.io/created-by: {{ include "linkerd.createdBy" . }}
linkerd.io/proxy-version: {{ .Values.proxy.image.version | default .Values.linkerdVersion }}
cluster-autoscaler.kubernetes.io/safe-to-evict: "true"
linkerd.io/trust-root-sha256: {{ .Values.identityTrustAnchorsPEM | trim | sha256sum }}
config.linkerd.io/default-inbound-policy: {{ .Values.proxy.defaultInboundPolicy | quote }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}
