{{- /* Certificates of the servers that the API server calls: ours, the user's, or someone else's. */ -}}

{{- /* The TLS secret; a dict {root, component, settings, generated}. */ -}}
{{- define "viz.tlsSecret" -}}
{{- if not .settings.externalSecret }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ .component }}-k8s-tls
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "viz.labels" (list .root .component) | nindent 4 }}
  annotations:
    linkerd.io/created-by: {{ include "viz.createdBy" .root }}
type: kubernetes.io/tls
data:
  tls.crt: {{ ternary .generated.Cert .settings.crtPEM (empty .settings.crtPEM) | trim | b64enc }}
  tls.key: {{ ternary .generated.Key .settings.keyPEM (empty .settings.keyPEM) | trim | b64enc }}
{{- end }}
{{- end -}}

{{- /* Annotations that tell cert-manager to fill in the authority. */ -}}
{{- define "viz.injectCa" -}}
{{- if and .injectCaFrom .injectCaFromSecret -}}
{{- fail "injectCaFrom and injectCaFromSecret cannot both be set" -}}
{{- end -}}
{{- if and .caBundle (or .injectCaFrom .injectCaFromSecret) -}}
{{- fail "caBundle cannot be set together with injectCaFrom or injectCaFromSecret" -}}
{{- end -}}
{{- with .injectCaFrom }}
cert-manager.io/inject-ca-from: {{ . }}
{{- end }}
{{- with .injectCaFromSecret }}
cert-manager.io/inject-ca-from-secret: {{ . }}
{{- end }}
{{- end -}}

{{- /* The caBundle line, unless cert-manager fills it in; a dict {settings, generated}. */ -}}
{{- define "viz.caBundle" -}}
{{- $filled := or .settings.injectCaFrom .settings.injectCaFromSecret -}}
{{- if and .settings.externalSecret (not .settings.caBundle) (not $filled) -}}
{{- fail "with externalSecret, set one of caBundle, injectCaFrom and injectCaFromSecret" -}}
{{- end -}}
{{- if not $filled -}}
caBundle: {{ ternary .generated.Cert .settings.caBundle (empty .settings.caBundle) | trim | b64enc }}
{{- end }}
{{- end -}}

{{- /* A Server for a port that only the API server calls, and who may; a list [root, component, port, name of both]. */ -}}
{{- define "viz.apiServerPolicy" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $name := index . 3 }}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "viz.labels" (list $root $component) | nindent 4 }}
  annotations:
    linkerd.io/created-by: {{ include "viz.createdBy" $root }}
spec:
  podSelector:
    matchLabels: {{- include "viz.selector" $component | nindent 6 }}
  port: {{ index . 2 }}
  proxyProtocol: TLS
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata:
  name: {{ $component }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "viz.labels" (list $root $component) | nindent 4 }}
  annotations:
    linkerd.io/created-by: {{ include "viz.createdBy" $root }}
spec:
  targetRef:
    group: policy.linkerd.io
    kind: Server
    name: {{ $name }}
  requiredAuthenticationRefs:
  - group: policy.linkerd.io
    kind: NetworkAuthentication
    name: kube-api-server
{{- end -}}
