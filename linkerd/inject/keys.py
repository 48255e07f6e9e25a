"""Names of annotations and labels that injection reads and writes.

Source: linkerd2 pkg/k8s/labels.go; pkg/inject/inject.go (which of them namespaces pass on).
"""

from __future__ import annotations

INJECT = "linkerd.io/inject"
ENABLED, DISABLED, INGRESS = "enabled", "disabled", "ingress"

CREATED_BY = "linkerd.io/created-by"
PROXY_VERSION = "linkerd.io/proxy-version"
TRUST_ROOT_SHA256 = "linkerd.io/trust-root-sha256"

CONTROL_PLANE_COMPONENT = "linkerd.io/control-plane-component"
CONTROL_PLANE_NS = "linkerd.io/control-plane-ns"
WORKLOAD_NS = "linkerd.io/workload-ns"
PROXY_OWNER = "linkerd.io/proxy-"
"""Followed by the lower-case kind of the owner."""

CONFIG = "config.linkerd.io/"
BETA = "config.beta.linkerd.io/"
ALPHA = "config.alpha.linkerd.io/"
OPAQUE_PORTS = CONFIG + "opaque-ports"
ADDITIONAL_ENV = CONFIG + "proxy-additional-env"
NATIVE_SIDECAR = (
    CONFIG + "proxy-enable-native-sidecar",
    BETA + "proxy-enable-native-sidecar",
    ALPHA + "proxy-enable-native-sidecar",
)
"""Earlier wins."""
WAIT_BEFORE_EXIT = ALPHA + "proxy-wait-before-exit-seconds"
TRACE_ATTRIBUTE = "resource.opentelemetry.io/"

INHERITED = (
    INJECT,
    *(
        CONFIG + name
        for name in (
            "access-log",
            "admin-port",
            "control-port",
            "default-inbound-policy",
            "enable-debug-sidecar",
            "enable-external-profiles",
            "image-pull-policy",
            "inbound-port",
            "opaque-ports",
            "outbound-port",
            "pod-inbound-ports",
            "proxy-additional-env",
            "proxy-admin-shutdown",
            "proxy-await",
            "proxy-cpu-limit",
            "proxy-cpu-request",
            "proxy-disable-inbound-protocol-detect-timeout",
            "proxy-disable-outbound-protocol-detect-timeout",
            "proxy-enable-native-sidecar",
            "proxy-ephemeral-storage-limit",
            "proxy-ephemeral-storage-request",
            "proxy-gid",
            "proxy-image",
            "proxy-inbound-connect-timeout",
            "proxy-inbound-discovery-cache-unused-timeout",
            "proxy-log-format",
            "proxy-log-http-headers",
            "proxy-log-level",
            "proxy-memory-limit",
            "proxy-memory-request",
            "proxy-metrics-hostname-labels",
            "proxy-outbound-connect-timeout",
            "proxy-outbound-discovery-cache-unused-timeout",
            "proxy-require-identity-inbound-ports",
            "proxy-uid",
            "proxy-version",
            "shutdown-grace-period",
            "skip-inbound-ports",
            "skip-outbound-ports",
            "skip-subnets",
        )
    ),
    ALPHA + "proxy-enable-native-sidecar",
    WAIT_BEFORE_EXIT,
)
"""What a pod takes over from its namespace when it says nothing itself."""
