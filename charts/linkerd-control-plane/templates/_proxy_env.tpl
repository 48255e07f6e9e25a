{{- /* Environment of the proxy, in Linkerd's order; takes the dict that _proxy.tpl describes. */ -}}
{{- define "proxy.env" -}}
{{- $values := .root.Values -}}
{{- $proxy := $values.proxy -}}
{{- $ns := .root.Release.Namespace -}}
{{- $domain := $values.clusterDomain -}}
{{- $trustDomain := include "linkerd.trustDomain" .root -}}
{{- $any := ternary "0.0.0.0" "[::]" $values.disableIPv6 -}}
{{- $workers := $proxy.runtime.workers -}}
- name: _pod_name
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: _pod_ns
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: _pod_uid
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: _pod_ip
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: _pod_nodeName
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: _pod_containerName
  value: linkerd-proxy
- name: LINKERD2_PROXY_CORES
  value: {{ $workers.maximum | default $workers.minimum | quote }}
- name: LINKERD2_PROXY_CORES_MIN
  value: {{ $workers.minimum | quote }}
{{- with $workers.maximum }}
- name: LINKERD2_PROXY_CORES_MAX
  value: {{ . | quote }}
{{- end }}
{{- with $workers.maximumCPURatio }}
- name: LINKERD2_PROXY_CORES_MAX_RATIO
  value: {{ . | quote }}
{{- end }}
{{- with $proxy.requireIdentityOnInboundPorts }}
- name: LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_IDENTITY
  value: {{ . | quote }}
{{- end }}
{{- with .requireTls | default $proxy.requireTLSOnInboundPorts }}
- name: LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_TLS
  value: {{ . | quote }}
{{- end }}
- name: LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED
  value: {{ $proxy.enableShutdownEndpoint | quote }}
- name: LINKERD2_PROXY_LOG
  value: {{ printf "%s%s" $proxy.logLevel (ternary "" ",[{headers}]=off,[{request}]=off" (eq $proxy.logHTTPHeaders "insecure")) | quote }}
- name: LINKERD2_PROXY_LOG_FORMAT
  value: {{ $proxy.logFormat | quote }}
- name: LINKERD2_PROXY_DESTINATION_SVC_ADDR
  value: {{ ternary "localhost.:8086" (printf "linkerd-dst-headless.%s.svc.%s.:8086" $ns $domain) (eq .component "destination") }}
- name: LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS
  value: {{ $values.clusterNetworks | quote }}
- name: LINKERD2_PROXY_POLICY_SVC_ADDR
  value: {{ ternary "localhost.:8090" (printf "linkerd-policy.%s.svc.%s.:8090" $ns $domain) (eq .component "destination") }}
- name: LINKERD2_PROXY_POLICY_WORKLOAD
  value: |
    {"ns":"$(_pod_ns)", "pod":"$(_pod_name)"}
- name: LINKERD2_PROXY_INBOUND_DEFAULT_POLICY
  value: {{ $proxy.defaultInboundPolicy }}
- name: LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS
  value: {{ $values.clusterNetworks | quote }}
- name: LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT
  value: {{ $proxy.control.streams.initialTimeout | quote }}
- name: LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT
  value: {{ $proxy.control.streams.idleTimeout | quote }}
- name: LINKERD2_PROXY_CONTROL_STREAM_LIFETIME
  value: {{ $proxy.control.streams.lifetime | quote }}
- name: LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT
  value: {{ $proxy.inboundConnectTimeout | quote }}
- name: LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT
  value: {{ $proxy.outboundConnectTimeout | quote }}
- name: LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT
  value: {{ $proxy.outboundDiscoveryCacheUnusedTimeout | quote }}
- name: LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT
  value: {{ $proxy.inboundDiscoveryCacheUnusedTimeout | quote }}
{{- if $proxy.disableOutboundProtocolDetectTimeout }}
- name: LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT
  value: 365d
{{- end }}
{{- if $proxy.disableInboundProtocolDetectTimeout }}
- name: LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT
  value: 365d
{{- end }}
- name: LINKERD2_PROXY_CONTROL_LISTEN_ADDR
  value: {{ printf "%s:%v" $any $proxy.ports.control | quote }}
- name: LINKERD2_PROXY_ADMIN_LISTEN_ADDR
  value: {{ printf "%s:%v" $any $proxy.ports.admin | quote }}
- name: LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR
  value: {{ printf "127.0.0.1:%v" $proxy.ports.outbound | quote }}
- name: LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS
  value: {{ printf "127.0.0.1:%v%s" $proxy.ports.outbound (ternary "" (printf ",[::1]:%v" $proxy.ports.outbound) $values.disableIPv6) | quote }}
- name: LINKERD2_PROXY_INBOUND_LISTEN_ADDR
  value: {{ printf "%s:%v" $any $proxy.ports.inbound | quote }}
- name: LINKERD2_PROXY_INBOUND_IPS
  valueFrom:
    fieldRef:
      fieldPath: status.podIPs
- name: LINKERD2_PROXY_INBOUND_PORTS
  value: {{ .inboundPorts | quote }}
- name: LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES
  value: {{ ternary "." (printf "svc.%s." $domain) $proxy.enableExternalProfiles | quote }}
- name: LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE
  value: 10000ms
- name: LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE
  value: 10000ms
- name: LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT
  value: 30s
- name: LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT
  value: 30s
- name: LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS
  value: {{ $proxy.metrics.hostnameLabels | quote }}
{{- if $proxy.tracing.enabled }}
{{- include "proxy.traceEnv" . }}
{{- end }}
{{- range $direction := list "inbound" "outbound" }}
{{- range $scope, $protocols := index $proxy $direction }}
{{- range $protocol, $parameters := $protocols }}
{{- range $parameter, $value := $parameters }}
- name: LINKERD2_PROXY_{{ upper $direction }}_{{ upper $scope }}_{{ upper $protocol }}_{{ $parameter | snakecase | upper }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
- name: LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION
  value: {{ $proxy.opaquePorts | quote }}
- name: LINKERD2_PROXY_DESTINATION_CONTEXT
  value: |
    {"ns":"$(_pod_ns)", "nodeName":"$(_pod_nodeName)", "pod":"$(_pod_name)"}
- name: _pod_sa
  valueFrom:
    fieldRef:
      fieldPath: spec.serviceAccountName
- name: _l5d_ns
  value: {{ $ns }}
- name: _l5d_trustdomain
  value: {{ $trustDomain }}
- name: LINKERD2_PROXY_IDENTITY_DIR
  value: /var/run/linkerd/identity/end-entity
- name: LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS
  valueFrom:
    configMapKeyRef:
      name: linkerd-identity-trust-roots
      key: ca-bundle.crt
- name: LINKERD2_PROXY_IDENTITY_TOKEN_FILE
  value: {{ ternary "/var/run/secrets/tokens/linkerd-identity-token" "/var/run/secrets/kubernetes.io/serviceaccount/token" $values.identity.serviceAccountTokenProjection }}
- name: LINKERD2_PROXY_IDENTITY_SVC_ADDR
  value: {{ ternary "localhost.:8080" (printf "linkerd-identity-headless.%s.svc.%s.:8080" $ns $domain) (eq .component "identity") }}
- name: LINKERD2_PROXY_IDENTITY_LOCAL_NAME
  value: $(_pod_sa).$(_pod_ns).serviceaccount.identity.{{ $ns }}.{{ $trustDomain }}
- name: LINKERD2_PROXY_IDENTITY_SVC_NAME
  value: linkerd-identity.{{ $ns }}.serviceaccount.identity.{{ $ns }}.{{ $trustDomain }}
- name: LINKERD2_PROXY_DESTINATION_SVC_NAME
  value: linkerd-destination.{{ $ns }}.serviceaccount.identity.{{ $ns }}.{{ $trustDomain }}
- name: LINKERD2_PROXY_POLICY_SVC_NAME
  value: linkerd-destination.{{ $ns }}.serviceaccount.identity.{{ $ns }}.{{ $trustDomain }}
{{- with $proxy.accessLog }}
- name: LINKERD2_PROXY_ACCESS_LOG
  value: {{ . | quote }}
{{- end }}
{{- with $proxy.shutdownGracePeriod }}
- name: LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD
  value: {{ . | quote }}
{{- end }}
{{- with $proxy.additionalEnv }}
{{ toYaml . }}
{{- end }}
{{- with $proxy.experimentalEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "proxy.traceEnv" }}
{{- $tracing := .root.Values.proxy.tracing }}
- name: LINKERD2_PROXY_TRACE_ATTRIBUTES_PATH
  value: /var/run/linkerd/podinfo/labels
- name: LINKERD2_PROXY_TRACE_ANNOTATIONS_PATH
  value: /var/run/linkerd/podinfo/annotations
- name: LINKERD2_PROXY_TRACE_PROTOCOL
  value: opentelemetry
- name: LINKERD2_PROXY_TRACE_SERVICE_NAME
  value: {{ $tracing.traceServiceName | quote }}
- name: LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR
  value: {{ required "proxy.tracing.collector.endpoint is required when tracing is enabled" $tracing.collector.endpoint | quote }}
- name: LINKERD2_PROXY_TRACE_COLLECTOR_SVC_NAME
  value: {{ printf "%s.%s.serviceaccount.identity.%s.%s" $tracing.collector.meshIdentity.serviceAccountName $tracing.collector.meshIdentity.namespace .root.Release.Namespace (include "linkerd.trustDomain" .root) | quote }}
- name: LINKERD2_PROXY_TRACE_EXTRA_ATTRIBUTES
  value: |
    {{- range $key, $value := $tracing.labels }}
    {{ $key }}={{ $value }}
    {{- end }}
{{- end -}}
