{{- /* Names, labels and pieces of pods that the extension's objects share. */ -}}

{{- define "viz.createdBy" -}}
{{- if .Values.cliVersion -}}
linkerd/cli {{ .Values.cliVersion }}
{{- else -}}
linkerd/helm {{ .Values.linkerdVersion }}
{{- end -}}
{{- end -}}

{{- /* Labels of every object. */ -}}
{{- define "viz.extensionLabels" -}}
linkerd.io/extension: viz
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Labels of a component's objects; a list [root, component]. */ -}}
{{- define "viz.labels" -}}
{{- $root := index . 0 -}}
{{ include "viz.extensionLabels" $root }}
component: {{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
{{- end -}}

{{- define "viz.workloadLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/part-of: Linkerd
app.kubernetes.io/version: {{ $root.Values.linkerdVersion }}
{{ include "viz.labels" . }}
{{- end -}}

{{- define "viz.selector" -}}
linkerd.io/extension: viz
component: {{ . }}
{{- end -}}

{{- define "viz.podLabels" -}}
{{- $root := index . 0 -}}
{{ include "viz.selector" (index . 1) }}
{{- with merge (dict) $root.Values.podLabels $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* A component's pods are meshed and start after their proxy; a list [root, component values]. */ -}}
{{- define "viz.podAnnotations" -}}
{{- $root := index . 0 -}}
linkerd.io/created-by: {{ include "viz.createdBy" $root }}
linkerd.io/inject: enabled
config.linkerd.io/proxy-await: "enabled"
config.alpha.linkerd.io/proxy-wait-before-exit-seconds: "0"
cluster-autoscaler.kubernetes.io/safe-to-evict: "true"
{{- $proxy := (index . 1).proxy | default dict }}
{{- $resources := $proxy.resources | default dict }}
{{- range $name := list "cpu" "memory" "ephemeral-storage" }}
{{- $one := index $resources $name | default dict }}
{{- with $one.request }}
config.linkerd.io/proxy-{{ $name }}-request: {{ . | quote }}
{{- end }}
{{- with $one.limit }}
config.linkerd.io/proxy-{{ $name }}-limit: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Scheduling and identity of a pod; a list [root, component, component values]. */ -}}
{{- define "viz.podSpec" -}}
{{- $root := index . 0 -}}
{{- $own := index . 2 -}}
serviceAccountName: {{ index . 1 }}
automountServiceAccountToken: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector: {{- toYaml ($own.nodeSelector | default $root.Values.nodeSelector) | nindent 2 }}
{{- with $own.tolerations | default $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $root.Values.enablePodAntiAffinity }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        labelSelector: {{- include "viz.antiAffinitySelector" (index . 1) | nindent 10 }}
        topologyKey: topology.kubernetes.io/zone
    requiredDuringSchedulingIgnoredDuringExecution:
    - labelSelector: {{- include "viz.antiAffinitySelector" (index . 1) | nindent 8 }}
      topologyKey: kubernetes.io/hostname
{{- end }}
{{- end -}}

{{- define "viz.antiAffinitySelector" -}}
matchExpressions:
- key: component
  operator: In
  values:
  - {{ . }}
{{- end -}}

{{- /* A list [root, component values]. */ -}}
{{- define "viz.image" -}}
{{- $root := index . 0 -}}
{{- $image := (index . 1).image -}}
image: {{ $image.registry | default $root.Values.defaultRegistry }}/{{ $image.name }}:{{ $image.tag | default $root.Values.linkerdVersion }}
imagePullPolicy: {{ $image.pullPolicy | default $root.Values.defaultImagePullPolicy }}
{{- end -}}

{{- /* A container's resources; nothing when nothing is set. */ -}}
{{- define "viz.resources" -}}
{{- $limits := dict -}}
{{- $requests := dict -}}
{{- range $name := list "cpu" "memory" "ephemeral-storage" -}}
{{- $one := index ($ | default dict) $name | default dict -}}
{{- with $one.limit }}{{ $_ := set $limits $name . }}{{ end -}}
{{- with $one.request }}{{ $_ := set $requests $name . }}{{ end -}}
{{- end -}}
{{- if or $limits $requests }}
resources:
{{- with $limits }}
  limits: {{- toYaml . | nindent 4 }}
{{- end }}
{{- with $requests }}
  requests: {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* A list [uid, gid]. */ -}}
{{- define "viz.security" -}}
allowPrivilegeEscalation: false
capabilities:
  drop:
  - ALL
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: {{ index . 0 }}
runAsGroup: {{ index . 1 }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* Probes of our daemons' admin port. */ -}}
{{- define "viz.probes" -}}
livenessProbe:
  httpGet:
    path: /ping
    port: {{ . }}
  initialDelaySeconds: 10
  timeoutSeconds: 1
readinessProbe:
  failureThreshold: 7
  httpGet:
    path: /ready
    port: {{ . }}
  timeoutSeconds: 1
{{- end -}}

{{- define "viz.apiAccessMount" -}}
- mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  name: kube-api-access
  readOnly: true
{{- end -}}

{{- define "viz.apiAccessVolume" -}}
- name: kube-api-access
  projected:
    defaultMode: 420
    sources:
    - serviceAccountToken:
        expirationSeconds: 3607
        path: token
    - configMap:
        name: kube-root-ca.crt
        items:
        - key: ca.crt
          path: ca.crt
    - downwardAPI:
        items:
        - path: namespace
          fieldRef:
            apiVersion: v1
            fieldPath: metadata.namespace
{{- end -}}

{{- /* A disruption budget, if wanted; a list [root, component]. */ -}}
{{- define "viz.disruptionBudget" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.enablePodDisruptionBudget }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "viz.labels" . | nindent 4 }}
  annotations:
    linkerd.io/created-by: {{ include "viz.createdBy" $root }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "viz.selector" (index . 1) | nindent 6 }}
{{- end }}
{{- end -}}

{{- /* A service account; a list [root, component]. */ -}}
{{- define "viz.serviceAccount" -}}
{{- $root := index . 0 }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "viz.labels" . | nindent 4 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Grants a cluster role to a component; a list [root, component, role's last part]. */ -}}
{{- define "viz.clusterRoleBinding" -}}
{{- $root := index . 0 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: linkerd-{{ $root.Release.Namespace }}-{{ index . 2 }}
  labels: {{- include "viz.labels" (list $root (index . 1)) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: linkerd-{{ $root.Release.Namespace }}-{{ index . 2 }}
subjects:
- kind: ServiceAccount
  name: {{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
{{- end -}}

{{- define "viz.prometheusUrl" -}}
{{- if .Values.prometheusUrl -}}
{{ .Values.prometheusUrl }}
{{- else if .Values.prometheus.enabled -}}
http://prometheus.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:9090
{{- end -}}
{{- end -}}
