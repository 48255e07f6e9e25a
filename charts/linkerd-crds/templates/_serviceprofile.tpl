{{- /* Conditions nest without end; the schema writes out the first level and leaves deeper ones open. */ -}}
{{- define "serviceprofile.requestMatch" -}}
type: object
properties:
  pathRegex: {type: string}
  method: {type: string}
  {{- include "serviceprofile.nested" . | nindent 2 }}
{{- end -}}

{{- define "serviceprofile.responseMatch" -}}
type: object
properties:
  status:
    type: object
    properties:
      min: {type: integer, format: int32}
      max: {type: integer, format: int32}
  {{- include "serviceprofile.nested" . | nindent 2 }}
{{- end -}}

{{- define "serviceprofile.nested" -}}
all:
  type: array
  items: {type: object, x-kubernetes-preserve-unknown-fields: true}
any:
  type: array
  items: {type: object, x-kubernetes-preserve-unknown-fields: true}
not:
  type: object
  x-kubernetes-preserve-unknown-fields: true
{{- end -}}
