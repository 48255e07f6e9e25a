{{- define "cni.labels" -}}
k8s-app: linkerd-cni
linkerd.io/cni-resource: "true"
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "cni.image" -}}
{{ .Values.image.name }}:{{ .Values.image.version | default .Values.linkerdVersion }}
{{- end -}}

{{- define "cni.ports" -}}
{{- $ports := list -}}
{{- range compact . -}}
{{- range splitList "," (toString .) -}}
{{- $ports = append $ports (trim .) -}}
{{- end -}}
{{- end -}}
{{ compact $ports | toJson }}
{{- end -}}
