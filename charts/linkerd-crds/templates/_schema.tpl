{{- /* Pieces of OpenAPI schemas that several kinds share. */ -}}

{{- define "schema.name" -}}
{type: string, minLength: 1, maxLength: 253}
{{- end -}}

{{- define "schema.group" -}}
type: string
maxLength: 253
pattern: '^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'
{{- end -}}

{{- define "schema.kind" -}}
{type: string, minLength: 1, maxLength: 63, pattern: '^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'}
{{- end -}}

{{- define "schema.namespace" -}}
{type: string, minLength: 1, maxLength: 63, pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'}
{{- end -}}

{{- define "schema.port" -}}
{type: integer, format: int32, minimum: 1, maximum: 65535}
{{- end -}}

{{- define "schema.duration" -}}
{type: string, pattern: '^([0-9]{1,5}(h|m|s|ms)){1,4}$'}
{{- end -}}

{{- /* A label selector. */ -}}
{{- define "schema.selector" -}}
type: object
properties:
  matchLabels:
    type: object
    x-kubernetes-preserve-unknown-fields: true
  matchExpressions:
    type: array
    items:
      type: object
      required: [key, operator]
      properties:
        key: {type: string}
        operator: {type: string, enum: [In, NotIn, Exists, DoesNotExist]}
        values:
          type: array
          items: {type: string}
{{- end -}}

{{- /* A list of networks with holes. */ -}}
{{- define "schema.networks" -}}
type: array
items:
  type: object
  required: [cidr]
  properties:
    cidr:
      description: An address or a network such as 10.0.0.0/8.
      type: string
    except:
      description: Parts of cidr that are not meant.
      type: array
      items: {type: string}
{{- end -}}

{{- /* A reference to an object; a list [required fields, with namespace]. */ -}}
{{- define "schema.reference" -}}
type: object
required: [{{ index . 0 }}]
properties:
  group: {{- include "schema.group" . | nindent 4 }}
  kind: {{- include "schema.kind" . | nindent 4 }}
  name: {{- include "schema.name" . | nindent 4 }}
{{- if index . 1 }}
  namespace: {{- include "schema.namespace" . | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "schema.conditions" -}}
type: array
maxItems: 8
x-kubernetes-list-type: map
x-kubernetes-list-map-keys: [type]
items:
  type: object
  required: [lastTransitionTime, message, reason, status, type]
  properties:
    lastTransitionTime: {type: string, format: date-time}
    message: {type: string, maxLength: 32768}
    observedGeneration: {type: integer, format: int64, minimum: 0}
    reason: {type: string, minLength: 1, maxLength: 1024, pattern: '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$'}
    status: {type: string, enum: ["True", "False", Unknown]}
    type: {type: string, maxLength: 316}
{{- end -}}
