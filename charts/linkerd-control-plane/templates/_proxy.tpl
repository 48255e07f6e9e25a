{{- /*
The proxy of a control-plane pod, rendered here because these pods exist before the webhook does.
Must equal what injection adds to other pods, apart from what `mesh` says:

  root           the chart's context
  component      destination, identity, proxy-injector
  inboundPorts   the pod's ports
  requireTls     ports that take TLS only
  localDst       destination and policy are in this pod
  localIdentity  identity is in this pod; then nothing waits for this proxy
  resources      instead of proxy.resources
*/ -}}

{{- /* Whether the proxy is an init container that stays. */ -}}
{{- define "proxy.native" -}}
{{- if and .root.Values.proxy.nativeSidecar (not .localIdentity) }}true{{ end -}}
{{- end -}}

{{- define "proxy.initContainers" -}}
{{- if .root.Values.cniEnabled }}
{{ include "proxy.validator" . }}
{{- else }}
{{ include "proxy.init" . }}
{{- end }}
{{- if include "proxy.native" . }}
{{ include "proxy.container" . }}
{{- end }}
{{- end -}}

{{- define "proxy.init" -}}
{{- $values := .root.Values -}}
{{- $init := $values.proxyInit -}}
{{- $root := or $init.runAsRoot $init.closeWaitTimeoutSecs -}}
{{- $privileged := or $init.privileged $init.closeWaitTimeoutSecs -}}
- name: linkerd-init
  image: {{ $init.image.name }}:{{ $init.image.version | default $values.linkerdVersion }}
  imagePullPolicy: {{ $init.image.pullPolicy | default $values.imagePullPolicy }}
  args:
  {{- if eq $init.iptablesMode "nft" }}
  - --firewall-bin-path
  - iptables-nft
  - --firewall-save-bin-path
  - iptables-nft-save
  {{- else if eq $init.iptablesMode "plain" }}
  - --firewall-bin-path
  - iptables
  - --firewall-save-bin-path
  - iptables-save
  {{- else if ne $init.iptablesMode "legacy" }}
  {{- fail (printf "unsupported value %q for proxyInit.iptablesMode" $init.iptablesMode) }}
  {{- end }}
  {{- if $values.disableIPv6 }}
  - --ipv6=false
  {{- end }}
  - --incoming-proxy-port
  - {{ $values.proxy.ports.inbound | quote }}
  - --outgoing-proxy-port
  - {{ $values.proxy.ports.outbound | quote }}
  - --proxy-uid
  - {{ $values.proxy.uid | quote }}
  {{- if ge (int $values.proxy.gid) 0 }}
  - --proxy-gid
  - {{ $values.proxy.gid | quote }}
  {{- end }}
  - --inbound-ports-to-ignore
  - {{ join "," (compact (list $values.proxy.ports.control $values.proxy.ports.admin $init.ignoreInboundPorts)) | quote }}
  {{- with $init.kubeAPIServerPorts }}
  - --outbound-ports-to-ignore
  - {{ . | quote }}
  {{- end }}
  {{- with $init.closeWaitTimeoutSecs }}
  - --timeout-close-wait-secs
  - {{ . | quote }}
  {{- end }}
  {{- with $init.logFormat }}
  - --log-format
  - {{ . }}
  {{- end }}
  {{- with $init.logLevel }}
  - --log-level
  - {{ . }}
  {{- end }}
  {{- with $init.skipSubnets }}
  - --subnets-to-ignore
  - {{ . | quote }}
  {{- end }}
  {{- include "linkerd.resources" (.resources | default $values.proxy.resources) | indent 2 }}
  securityContext:
    allowPrivilegeEscalation: {{ $privileged | empty | not }}
    capabilities:
      add:
      - NET_ADMIN
      - NET_RAW
    privileged: {{ $privileged | empty | not }}
    {{- if $root }}
    runAsUser: 0
    runAsGroup: 0
    runAsNonRoot: false
    {{- else }}
    runAsUser: {{ $init.runAsUser }}
    runAsGroup: {{ $init.runAsGroup }}
    runAsNonRoot: true
    {{- end }}
    readOnlyRootFilesystem: true
    seccompProfile:
      type: RuntimeDefault
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
  - mountPath: {{ $init.xtMountPath.mountPath }}
    name: {{ $init.xtMountPath.name }}
{{- end -}}

{{- define "proxy.validator" -}}
{{- $values := .root.Values -}}
{{- $validator := $values.networkValidator -}}
- name: linkerd-network-validator
  image: {{ include "proxy.image" . }}
  imagePullPolicy: {{ $values.proxy.image.pullPolicy | default $values.imagePullPolicy }}
  command:
  - /usr/lib/linkerd/linkerd2-network-validator
  args:
  - --log-format
  - {{ $validator.logFormat }}
  - --log-level
  - {{ $validator.logLevel }}
  - --connect-addr
  - {{ $validator.connectAddr | default (ternary "1.1.1.1:20001" "[fd00::1]:20001" $values.disableIPv6) | quote }}
  - --listen-addr
  - {{ $validator.listenAddr | default (printf "%s:%v" (ternary "0.0.0.0" "[::]" $values.disableIPv6) $values.proxy.ports.outbound) | quote }}
  - --timeout
  - {{ $validator.timeout }}
  {{- include "linkerd.resources" (.resources | default $values.proxy.resources) | indent 2 }}
  {{- if $validator.enableSecurityContext }}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities:
      drop:
      - ALL
    readOnlyRootFilesystem: true
    runAsGroup: 65534
    runAsNonRoot: true
    runAsUser: 65534
    seccompProfile:
      type: RuntimeDefault
  {{- end }}
{{- end -}}

{{- define "proxy.image" -}}
{{ .root.Values.proxy.image.name }}:{{ .root.Values.proxy.image.version | default .root.Values.linkerdVersion }}
{{- end -}}

{{- define "proxy.container" -}}
{{- $values := .root.Values -}}
{{- $proxy := $values.proxy -}}
- name: linkerd-proxy
  image: {{ include "proxy.image" . }}
  imagePullPolicy: {{ $proxy.image.pullPolicy | default $values.imagePullPolicy }}
  env: {{- include "proxy.env" . | nindent 2 }}
  ports:
  - containerPort: {{ $proxy.ports.inbound }}
    name: linkerd-proxy
  - containerPort: {{ $proxy.ports.admin }}
    name: linkerd-admin
  livenessProbe:
    httpGet:
      path: /live
      port: {{ $proxy.ports.admin }}
    initialDelaySeconds: {{ $proxy.livenessProbe.initialDelaySeconds }}
    timeoutSeconds: {{ $proxy.livenessProbe.timeoutSeconds }}
  readinessProbe:
    httpGet:
      path: /ready
      port: {{ $proxy.ports.admin }}
    initialDelaySeconds: {{ $proxy.readinessProbe.initialDelaySeconds }}
    timeoutSeconds: {{ $proxy.readinessProbe.timeoutSeconds }}
  {{- if and (include "proxy.native" .) $proxy.await }}
  startupProbe:
    httpGet:
      path: /ready
      port: {{ $proxy.ports.admin }}
    {{- toYaml $proxy.startupProbe | nindent 4 }}
  {{- end }}
  {{- include "linkerd.resources" (.resources | default $proxy.resources) | indent 2 }}
  securityContext:
    {{- if $proxy.securityContext }}
    {{- toYaml $proxy.securityContext | nindent 4 }}
    {{- else }}
    allowPrivilegeEscalation: false
    capabilities:
      drop:
      - ALL
    readOnlyRootFilesystem: true
    runAsNonRoot: true
    runAsUser: {{ $proxy.uid }}
    {{- if ge (int $proxy.gid) 0 }}
    runAsGroup: {{ $proxy.gid }}
    {{- end }}
    seccompProfile:
      type: RuntimeDefault
    {{- end }}
  terminationMessagePolicy: FallbackToLogsOnError
  {{- if include "proxy.native" . }}
  restartPolicy: Always
  {{- else if and $proxy.await (not .localIdentity) }}
  lifecycle:
    postStart:
      exec:
        command:
        - /usr/lib/linkerd/linkerd-await
        - --timeout=2m
        - --port={{ $proxy.ports.admin }}
  {{- end }}
  volumeMounts:
  - mountPath: /var/run/linkerd/identity/end-entity
    name: linkerd-identity-end-entity
  {{- if $values.identity.serviceAccountTokenProjection }}
  - mountPath: /var/run/secrets/tokens
    name: linkerd-identity-token
  {{- else }}
  {{- include "linkerd.apiAccessMount" . | nindent 2 }}
  {{- end }}
  {{- if $proxy.tracing.enabled }}
  - mountPath: /var/run/linkerd/podinfo
    name: linkerd-podinfo
  {{- end }}
{{- end -}}

{{- define "proxy.volumes" -}}
{{- if not .root.Values.cniEnabled }}
- emptyDir: {}
  name: {{ .root.Values.proxyInit.xtMountPath.name }}
{{- end }}
- emptyDir:
    medium: Memory
  name: linkerd-identity-end-entity
{{- if .root.Values.proxy.tracing.enabled }}
- downwardAPI:
    items:
    - fieldRef:
        fieldPath: metadata.labels
      path: labels
  name: linkerd-podinfo
{{- end }}
{{- if .root.Values.identity.serviceAccountTokenProjection }}
- name: linkerd-identity-token
  projected:
    sources:
    - serviceAccountToken:
        audience: identity.l5d.io
        expirationSeconds: 86400
        path: linkerd-identity-token
{{- end }}
{{- end -}}
