"""Objects for the node's tests, in the domain's words."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def a_pod(
    *containers: Object, name: str = "web", init: list[Object] | None = None, **spec: Any
) -> Object:
    """A pod in namespace `shop` with uid `u1`."""
    found: Object = {"containers": [*containers] or [a_container()], **spec}
    if init:
        found["initContainers"] = init
    meta = {"name": name, "namespace": "shop", "uid": "u1"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": found, "status": {}}


def a_container(name: str = "main", **fields: Any) -> Object:
    """A container of image `app`."""
    return {"name": name, "image": "app", **fields}


def a_service(name: str = "web", ip: str = "10.96.0.7", **spec: Any) -> Object:
    """A service of namespace `shop` with port http 80."""
    base: Object = {"clusterIP": ip, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {**base, **spec}}


def a_slice(*endpoints: Object, service: str = "web", port: int = 8080) -> Object:
    """An EndpointSlice of a service of namespace `shop`."""
    labels = {"kubernetes.io/service-name": service}
    return {
        "metadata": {"name": f"{service}-1", "namespace": "shop", "labels": labels},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


def an_endpoint(ip: str, *, ready: bool = True, **fields: Any) -> Object:
    """An endpoint of a slice."""
    conditions = {"ready": ready, "serving": ready, "terminating": False}
    return {
        "addresses": [ip],
        "conditions": {**conditions, **fields.pop("conditions", {})},
        **fields,
    }
