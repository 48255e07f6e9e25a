"""What lets Prometheus and the kubelet reach proxies of a namespace that denies by default. Pure.

Source: linkerd2 viz/cmd/allow-scrapes.go (objects, names).
"""

from __future__ import annotations

from typing import Any

_POLICY = "policy.linkerd.io"


def allow(namespace: str, viz_namespace: str, created_by: str) -> list[dict[str, Any]]:
    """Returns the objects for one namespace.

    Args:
        namespace: Whose proxies are scraped.
        viz_namespace: Where Prometheus and the kubelet's authentication are.
        created_by: For the annotation.
    """

    def body(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": f"{_POLICY}/{version}",
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {"linkerd.io/extension": "viz"},
                "annotations": {"linkerd.io/created-by": created_by},
            },
            "spec": spec,
        }

    def route(name: str, *paths: str) -> dict[str, Any]:
        matches = [{"path": {"value": path}, "method": "GET"} for path in paths]
        parent = {"name": "proxy-admin", "kind": "Server", "group": _POLICY}
        spec = {"parentRefs": [parent], "rules": [{"matches": matches}]}
        return body("v1beta3", "HTTPRoute", name, spec)

    def authorization(name: str, target: str, reference: dict[str, str]) -> dict[str, Any]:
        spec = {
            "targetRef": {"group": _POLICY, "kind": "HTTPRoute", "name": target},
            "requiredAuthenticationRefs": [{**reference, "namespace": viz_namespace}],
        }
        return body("v1alpha1", "AuthorizationPolicy", name, spec)

    meshed = {"key": "linkerd.io/control-plane-ns", "operator": "Exists"}
    server = {
        "podSelector": {"matchExpressions": [meshed]},
        "port": "linkerd-admin",
        "proxyProtocol": "HTTP/1",
    }
    kubelet = {"group": _POLICY, "kind": "NetworkAuthentication", "name": "kubelet"}
    return [
        body("v1beta3", "Server", "proxy-admin", server),
        route("proxy-metrics", "/metrics"),
        route("proxy-probes", "/live", "/ready"),
        authorization(
            "prometheus-scrape", "proxy-metrics", {"kind": "ServiceAccount", "name": "prometheus"}
        ),
        authorization("proxy-probes", "proxy-probes", kubelet),
    ]
