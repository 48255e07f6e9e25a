"""Commands and flags of older releases that are no more, each with the sentence that says why.

Source: linkerd2 cli/cmd at stable-2.8.1, 2.9.5, 2.10.2, 2.11.5 (names); later releases (heirs).
"""

from __future__ import annotations

COMMANDS: dict[tuple[str, ...], str] = {
    ("alpha",): "use 'linkerd viz stat' instead",
    ("get",): "use 'kubectl get pods' instead",
    ("logs",): "use 'kubectl logs' instead",
    ("install-sp",): "the control plane needs no service profiles any more",
    ("diagnostics", "install-sp"): "the control plane needs no service profiles any more",
    ("repair",): "use 'linkerd upgrade' instead, which writes the stored settings anew",
    ("install", "config"): "use 'linkerd install --crds', then 'linkerd install'",
    ("install", "control-plane"): "use 'linkerd install --crds', then 'linkerd install'",
    ("upgrade", "config"): "use 'linkerd upgrade --crds', then 'linkerd upgrade'",
    ("upgrade", "control-plane"): "use 'linkerd upgrade --crds', then 'linkerd upgrade'",
    ("jaeger",): "proxies send their traces themselves: set proxy.tracing when you install",
    ("multicluster", "export-service"): "set the label mirror.linkerd.io/exported=true instead",
}
"""Command → what to do instead."""

_PROXY_IMAGE = "the proxy's image holds it: use --proxy-image and --proxy-version"
_VIZ = "it belongs to the viz extension: use 'linkerd viz install --set {}'"
_TRACING = "proxies send their traces themselves: use --set proxy.tracing.…"

FLAGS: dict[str, str] = {
    "--init-image": _PROXY_IMAGE,
    "--init-image-version": _PROXY_IMAGE,
    "--prometheus-image": _VIZ.format("prometheus.image.name=…"),
    "--restrict-dashboard-privileges": _VIZ.format("dashboard.restrictPrivileges=true"),
    "--disable-tap": "leave the viz extension out, or use 'linkerd viz install --set tap.enabled=false'",
    "--smi-metrics": "traffic metrics of SMI are no more",
    "--addon-config": "use --values FILE instead",
    "--addon-overwrite": "use --values FILE instead",
    "--config": "use --values FILE instead",
    "--omit-webhook-side-effects": "all supported releases of Kubernetes know side effects",
    "--control-plane-version": "use --set linkerdVersion=VERSION instead",
    "--control-plane-tracing": _TRACING,
    "--trace-collector": _TRACING,
    "--trace-collector-svc-account": _TRACING,
    "--disable-identity": "every proxy has an identity now",
    "--gateway-nginx-image": "the gateway is a linkerd-proxy now",
    "--gateway-nginx-image-version": "the gateway is a linkerd-proxy now",
    "--service-mirror": "each link brings its controller: use 'linkerd multicluster link-gen'",
}
"""Flag → what to do instead."""

DEPRECATED: dict[str, str] = {
    "proxy-cpu": "proxy-cpu-request",
    "proxy-memory": "proxy-memory-request",
}
"""Flags that still work → their new names."""
