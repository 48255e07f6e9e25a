{{- /* Certificates of admission webhooks: ours, the user's, or someone else's. */ -}}

{{- /* The TLS secret; a dict {root, name, component, settings, generated}. */ -}}
{{- define "webhook.secret" -}}
{{- if not .settings.externalSecret }}
---
kind: Secret
apiVersion: v1
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "linkerd.labels" (list .root .component) | nindent 4 }}
  annotations:
    linkerd.io/created-by: {{ include "linkerd.createdBy" .root }}
type: kubernetes.io/tls
data:
  tls.crt: {{ ternary .generated.Cert .settings.crtPEM (empty .settings.crtPEM) | trim | b64enc }}
  tls.key: {{ ternary .generated.Key .settings.keyPEM (empty .settings.keyPEM) | trim | b64enc }}
{{- end }}
{{- end -}}

{{- /* Annotations that tell cert-manager to fill in the CA. */ -}}
{{- define "webhook.injectCa" -}}
{{- if and .injectCaFrom .injectCaFromSecret -}}
{{- fail "injectCaFrom and injectCaFromSecret cannot both be set" -}}
{{- end -}}
{{- if and (or .injectCaFrom .injectCaFromSecret) .caBundle -}}
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
{{- define "webhook.caBundle" -}}
{{- if and .settings.externalSecret (not (or .settings.caBundle .settings.injectCaFrom .settings.injectCaFromSecret)) -}}
{{- fail "with externalSecret, set one of caBundle, injectCaFrom and injectCaFromSecret" -}}
{{- end -}}
{{- if not (or .settings.injectCaFrom .settings.injectCaFromSecret) -}}
caBundle: {{ ternary .generated.Cert .settings.caBundle (empty .settings.caBundle) | trim | b64enc }}
{{- end }}
{{- end -}}
