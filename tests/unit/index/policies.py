"""Builders of routes and policies for tests; objects are made as the API's JSON is decoded."""

from __future__ import annotations

from typing import Any

import msgspec

from linkerd.model import objects
from linkerd.model.route_objects import EgressNetwork, RateLimit, Route
from linkerd.model.routes import CONTROLLER

POLICY = "policy.linkerd.io"
GATEWAY = "gateway.networking.k8s.io"
HTTP = f"httproutes.{GATEWAY}"
POLICY_HTTP = f"httproutes.{POLICY}"
GRPC = f"grpcroutes.{GATEWAY}"
TLS = f"tlsroutes.{GATEWAY}"
TCP = f"tcproutes.{GATEWAY}"


def service_parent(name: str = "web", **fields: Any) -> dict[str, Any]:
    return {"kind": "Service", "group": "", "name": name, **fields}


def egress_parent(name: str = "net", **fields: Any) -> dict[str, Any]:
    return {"kind": "EgressNetwork", "group": POLICY, "name": name, **fields}


def server_parent(name: str = "srv", **fields: Any) -> dict[str, Any]:
    return {"kind": "Server", "group": POLICY, "name": name, **fields}


def a_route(
    name: str = "route",
    *parents: dict[str, Any],
    rules: Any = ({},),
    namespace: str = "ns",
    created: str = "2026-01-01T00:00:00Z",
    annotations: dict[str, str] | None = None,
    accepted: bool = True,
    controller: str = CONTROLLER,
    **spec: Any,
) -> Route:
    """A route, by default attached to the service `web`, with our status."""
    parents = parents or (service_parent(),)
    statuses: list[dict[str, Any]] = [
        {
            "parentRef": {"namespace": namespace} | parent,
            "controllerName": controller,
            "conditions": [{"type": "Accepted", "status": "True" if accepted else "False"}],
        }
        for parent in parents
    ]
    meta = {
        "name": name,
        "namespace": namespace,
        "creationTimestamp": created,
        "annotations": annotations,
    }
    return msgspec.convert(
        {
            "metadata": meta,
            "spec": {"parentRefs": list(parents), "rules": list(rules), **spec},
            "status": {"parents": statuses},
        },
        Route,
    )


def a_service(
    name: str = "web",
    ip: str = "10.96.0.1",
    namespace: str = "ns",
    annotations: dict[str, str] | None = None,
    **port: Any,
) -> objects.Service:
    fields: dict[str, Any] = {"port": 80, "name": "http"} | port
    return objects.Service(
        objects.Meta(name=name, namespace=namespace, annotations=annotations),
        objects.ServiceSpec(cluster_ip=ip, ports=(objects.ServicePort(**fields),)),
    )


def an_egress_network(
    name: str = "net",
    *cidrs: str,
    namespace: str = "ns",
    policy: str = "Allow",
    created: str = "2026-01-01T00:00:00Z",
    holes: tuple[str, ...] = (),
    **metadata: Any,
) -> EgressNetwork:
    spec: dict[str, Any] = {"trafficPolicy": policy}
    if cidrs:
        spec["networks"] = [{"cidr": cidr, "except": list(holes)} for cidr in cidrs]
    meta = {"name": name, "namespace": namespace, "creationTimestamp": created, **metadata}
    return msgspec.convert({"metadata": meta, "spec": spec}, EgressNetwork)


def a_rate_limit(
    name: str = "limit",
    server: str = "srv",
    *,
    accepted: bool | None = True,
    created: str = "2026-01-01T00:00:00Z",
    **spec: Any,
) -> RateLimit:
    target = {"group": POLICY, "kind": "Server", "name": server}
    document: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "ns", "creationTimestamp": created},
        "spec": {"targetRef": target, **spec},
    }
    if accepted is not None:
        verdict = {"type": "Accepted", "status": "True" if accepted else "False"}
        document["status"] = {"conditions": [verdict], "targetRef": target}
    return msgspec.convert(document, RateLimit)
