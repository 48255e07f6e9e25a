{{- /* Schemas of routes: parents, matches, filters, backends, status. */ -}}

{{- define "route.hostnames" -}}
type: array
maxItems: 16
items:
  type: string
  minLength: 1
  maxLength: 253
  pattern: '^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'
{{- end -}}

{{- /* One parent reference; the argument is the default group. */ -}}
{{- define "route.parentRef" -}}
type: object
required: [name]
properties:
  group:
    default: {{ . }}
    {{- include "schema.group" . | nindent 4 }}
  kind:
    type: string
    default: Gateway
    minLength: 1
    maxLength: 63
    pattern: '^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'
  name: {{- include "schema.name" . | nindent 4 }}
  namespace: {{- include "schema.namespace" . | nindent 4 }}
  port: {{- include "schema.port" . | nindent 4 }}
  sectionName: {{- include "schema.name" . | nindent 4 }}
{{- end -}}

{{- define "route.parentRefs" -}}
type: array
maxItems: 32
items: {{- include "route.parentRef" . | nindent 2 }}
{{- end -}}

{{- /* Values compared with a header or a query parameter; a list [max length, the name's limits]. */ -}}
{{- define "route.valueMatches" -}}
type: array
maxItems: 16
x-kubernetes-list-type: map
x-kubernetes-list-map-keys: [name]
items:
  type: object
  required: [name, value]
  properties:
    type: {type: string, enum: [Exact, RegularExpression], default: Exact}
    name: {{- include "route.token" . | nindent 6 }}
    value: {type: string, minLength: 1, maxLength: {{ . }}}
{{- end -}}

{{- define "route.token" -}}
type: string
minLength: 1
maxLength: 256
pattern: "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$"
{{- end -}}

{{- define "route.httpMatches" -}}
type: array
maxItems: 8
default:
- path: {type: PathPrefix, value: /}
items:
  type: object
  properties:
    path:
      type: object
      default: {type: PathPrefix, value: /}
      properties:
        type: {type: string, enum: [Exact, PathPrefix, RegularExpression], default: PathPrefix}
        value: {type: string, maxLength: 1024, default: /}
    headers: {{- include "route.valueMatches" 4096 | nindent 6 }}
    queryParams: {{- include "route.valueMatches" 1024 | nindent 6 }}
    method: {type: string, enum: [GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH]}
{{- end -}}

{{- define "route.headerChanges" -}}
type: object
properties:
  {{- range list "set" "add" }}
  {{ . }}:
    type: array
    maxItems: 16
    x-kubernetes-list-type: map
    x-kubernetes-list-map-keys: [name]
    items:
      type: object
      required: [name, value]
      properties:
        name: {{- include "route.token" . | nindent 10 }}
        value: {type: string, minLength: 1, maxLength: 4096}
  {{- end }}
  remove:
    type: array
    maxItems: 16
    x-kubernetes-list-type: set
    items: {type: string}
{{- end -}}

{{- define "route.pathChange" -}}
type: object
required: [type]
properties:
  type: {type: string, enum: [ReplaceFullPath, ReplacePrefixMatch]}
  replaceFullPath: {type: string, maxLength: 1024}
  replacePrefixMatch: {type: string, maxLength: 1024}
{{- end -}}

{{- /* Filters; the argument is the list of type names that are allowed. */ -}}
{{- define "route.filters" -}}
type: array
maxItems: 16
items:
  type: object
  required: [type]
  properties:
    type: {type: string, enum: [{{ join ", " . }}]}
    {{- if has "RequestHeaderModifier" . }}
    requestHeaderModifier: {{- include "route.headerChanges" . | nindent 6 }}
    {{- end }}
    {{- if has "ResponseHeaderModifier" . }}
    responseHeaderModifier: {{- include "route.headerChanges" . | nindent 6 }}
    {{- end }}
    {{- if has "RequestMirror" . }}
    requestMirror:
      type: object
      required: [backendRef]
      properties:
        backendRef: {{- include "route.backend" . | nindent 10 }}
    {{- end }}
    {{- if has "RequestRedirect" . }}
    requestRedirect:
      type: object
      properties:
        scheme: {type: string, enum: [http, https]}
        hostname: {{- include "schema.name" . | nindent 10 }}
        path: {{- include "route.pathChange" . | nindent 10 }}
        port: {{- include "schema.port" . | nindent 10 }}
        statusCode: {type: integer, enum: [301, 302], default: 302}
    {{- end }}
    {{- if has "URLRewrite" . }}
    urlRewrite:
      type: object
      properties:
        hostname: {{- include "schema.name" . | nindent 10 }}
        path: {{- include "route.pathChange" . | nindent 10 }}
    {{- end }}
    {{- if has "ExtensionRef" . }}
    extensionRef: {{- include "schema.reference" (list "group, kind, name" false) | nindent 6 }}
    {{- end }}
{{- end -}}

{{- /* A backend without weight or filters. */ -}}
{{- define "route.backend" -}}
type: object
required: [name]
properties:
  group:
    default: ""
    {{- include "schema.group" . | nindent 4 }}
  kind:
    type: string
    default: Service
    minLength: 1
    maxLength: 63
    pattern: '^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'
  name: {{- include "schema.name" . | nindent 4 }}
  namespace: {{- include "schema.namespace" . | nindent 4 }}
  port: {{- include "schema.port" . | nindent 4 }}
{{- end -}}

{{- /* Weighted backends; the argument is the list of filter types, empty for no filters. */ -}}
{{- define "route.backendRefs" -}}
type: array
maxItems: 16
items:
  {{- include "route.backend" . | nindent 2 }}
    weight: {type: integer, format: int32, minimum: 0, maximum: 1000000, default: 1}
    {{- if . }}
    filters: {{- include "route.filters" . | nindent 6 }}
    {{- end }}
{{- end -}}

{{- define "route.timeouts" -}}
type: object
properties:
  request: {{- include "schema.duration" . | nindent 4 }}
  backendRequest: {{- include "schema.duration" . | nindent 4 }}
{{- end -}}

{{- define "route.sessionPersistence" -}}
type: object
properties:
  sessionName: {type: string, maxLength: 128}
  type: {type: string, enum: [Cookie, Header], default: Cookie}
  idleTimeout: {{- include "schema.duration" . | nindent 4 }}
  absoluteTimeout: {{- include "schema.duration" . | nindent 4 }}
  cookieConfig:
    type: object
    properties:
      lifetimeType: {type: string, enum: [Permanent, Session], default: Session}
{{- end -}}

{{- /* Status of a route; the argument is the default group of parents. */ -}}
{{- define "route.status" -}}
type: object
required: [parents]
properties:
  parents:
    type: array
    maxItems: 32
    items:
      type: object
      required: [controllerName, parentRef]
      properties:
        controllerName: {type: string, minLength: 1, maxLength: 253}
        parentRef: {{- include "route.parentRef" . | nindent 10 }}
        conditions: {{- include "schema.conditions" . | nindent 10 }}
{{- end -}}
