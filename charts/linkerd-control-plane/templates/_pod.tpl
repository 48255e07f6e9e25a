{{- /* Parts of the control plane's pods that do not concern the proxy. */ -}}

{{- /* Scheduling; a list [root, component]. */ -}}
{{- define "linkerd.scheduling" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or $root.Values.enablePodAntiAffinity $root.Values.nodeAffinity }}
affinity:
{{- with $root.Values.nodeAffinity }}
  nodeAffinity: {{- toYaml . | nindent 4 }}
{{- end }}
{{- if $root.Values.enablePodAntiAffinity }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        labelSelector: {{- include "linkerd.antiAffinitySelector" . | nindent 10 }}
        topologyKey: topology.kubernetes.io/zone
    requiredDuringSchedulingIgnoredDuringExecution:
    - labelSelector: {{- include "linkerd.antiAffinitySelector" . | nindent 8 }}
      topologyKey: kubernetes.io/hostname
{{- end }}
{{- end }}
nodeSelector: {{- toYaml $root.Values.nodeSelector | nindent 2 }}
automountServiceAccountToken: false
securityContext:
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "linkerd.antiAffinitySelector" -}}
matchExpressions:
- key: linkerd.io/control-plane-component
  operator: In
  values:
  - {{ index . 1 }}
{{- end -}}

{{- define "linkerd.strategy" -}}
revisionHistoryLimit: {{ .Values.revisionHistoryLimit }}
strategy: {{- toYaml .Values.deploymentStrategy | nindent 2 }}
{{- end -}}

{{- define "linkerd.controllerSecurity" -}}
capabilities:
  drop:
  - ALL
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: {{ .Values.controllerUID }}
{{- if ge (int .Values.controllerGID) 0 }}
runAsGroup: {{ .Values.controllerGID }}
{{- end }}
allowPrivilegeEscalation: false
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "linkerd.controllerImage" -}}
image: {{ .Values.controllerImage }}:{{ .Values.controllerImageVersion | default .Values.linkerdVersion }}
imagePullPolicy: {{ .Values.imagePullPolicy }}
{{- end -}}

{{- /* Probes of an admin port; a list [port name, path of liveness]. */ -}}
{{- define "linkerd.probes" -}}
livenessProbe:
  httpGet:
    path: {{ index . 1 }}
    port: {{ index . 0 }}
  initialDelaySeconds: 10
  timeoutSeconds: 1
readinessProbe:
  failureThreshold: 7
  httpGet:
    path: /ready
    port: {{ index . 0 }}
  timeoutSeconds: 1
{{- end -}}

{{- /* A container's resources; nothing when nothing is set. */ -}}
{{- define "linkerd.resources" -}}
{{- $limits := dict -}}
{{- $requests := dict -}}
{{- range $name := list "cpu" "memory" "ephemeral-storage" -}}
{{- $one := index $ $name | default dict -}}
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

{{- define "linkerd.apiAccessMount" -}}
- mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  name: kube-api-access
  readOnly: true
{{- end -}}

{{- define "linkerd.apiAccessVolume" -}}
- name: kube-api-access
  projected:
    defaultMode: 420
    sources:
    - serviceAccountToken:
        expirationSeconds: 3607
        path: token
    - configMap:
        items:
        - key: ca.crt
          path: ca.crt
        name: kube-root-ca.crt
    - downwardAPI:
        items:
        - fieldRef:
            apiVersion: v1
            fieldPath: metadata.namespace
          path: namespace
{{- end -}}

{{- /* A PodDisruptionBudget; a list [root, component]. */ -}}
{{- define "linkerd.disruptionBudget" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.enablePodDisruptionBudget }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: linkerd-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "linkerd.labels" . | nindent 4 }}
  annotations:
    linkerd.io/created-by: {{ include "linkerd.createdBy" $root }}
spec:
  maxUnavailable: {{ $root.Values.controller.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      linkerd.io/control-plane-component: {{ index . 1 }}
{{- end }}
{{- end -}}
