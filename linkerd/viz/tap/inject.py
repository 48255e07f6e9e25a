"""The tap injector's decision: which proxies are told who may tap them. Pure.

Source: linkerd2 viz/tap/injector/webhook.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linkerd.viz.objects import DISABLE_TAP, PROXY, TAP_ENABLED, truthy

ENV = "LINKERD2_PROXY_TAP_SVC_NAME"
"""The identity that may tap a proxy; without it the proxy's tap server is off."""


def patch(
    pod: Mapping[str, Any], namespace_annotations: Mapping[str, str], identity: str
) -> list[dict[str, Any]]:
    """Returns the JSON patch that lets `identity` tap a pod; empty when nothing is to be done.

    Args:
        pod: As it is admitted.
        namespace_annotations: Of its namespace; the pod's win.
        identity: Of the tap server.
    """
    meta = pod.get("metadata") or {}
    annotations = meta.get("annotations") or {}
    if TAP_ENABLED in annotations:
        return []
    wish = annotations.get(DISABLE_TAP, namespace_annotations.get(DISABLE_TAP, ""))
    path = _proxy_path(pod)
    if truthy(wish) or path is None:
        return []
    operations: list[dict[str, Any]] = []
    if not annotations:
        operations.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    key = TAP_ENABLED.replace("/", "~1")
    operations.append({"op": "add", "path": f"/metadata/annotations/{key}", "value": "true"})
    where, env = path
    if env is None:
        operations.append({"op": "add", "path": f"{where}/env", "value": []})
    entry = {"name": ENV, "value": identity}
    operations.append({"op": "add", "path": f"{where}/env/-", "value": entry})
    return operations


def _proxy_path(pod: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Where the proxy's container is, and its environment."""
    spec = pod.get("spec") or {}
    for field in ("containers", "initContainers"):
        for place, container in enumerate(spec.get(field) or ()):
            if container.get("name") == PROXY:
                return f"/spec/{field}/{place}", container.get("env")
    return None
