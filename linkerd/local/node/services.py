"""Services and EndpointSlices → the NAT table. Pure.

Source: Kubernetes pkg/proxy/topology.go (which endpoints are used), pkg/proxy/types.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from linkerd.local.node.nat import PROTOCOLS, Backends, Frontend

Object = Mapping[str, Any]


def table(
    services: Iterable[Object], slices: Iterable[Object], *, node_ip: str, own: Iterable[str]
) -> dict[Frontend, Backends]:
    """Returns where connections to services go.

    Args:
        services: All Service objects.
        slices: All EndpointSlice objects.
        node_ip: Where node ports listen.
        own: ClusterIPs that the node answers on itself.
    """
    local = set(own)
    by_service: dict[tuple[str, str], list[Object]] = {}
    for item in slices:
        meta = item["metadata"]
        name = (meta.get("labels") or {}).get("kubernetes.io/service-name")
        if name and item.get("addressType", "IPv4") == "IPv4":
            by_service.setdefault((meta["namespace"], name), []).append(item)
    result: dict[Frontend, Backends] = {}
    for service in services:
        meta, spec = service["metadata"], service.get("spec") or {}
        ip = spec.get("clusterIP")
        if not ip or ip == "None" or ip in local or ":" in ip:
            continue
        found = by_service.get((meta["namespace"], meta["name"]), [])
        affinity = spec.get("sessionAffinity") == "ClientIP"
        for port in spec.get("ports") or ():
            protocol = port.get("protocol", "TCP")
            if protocol not in PROTOCOLS:
                continue
            backends = Backends(endpoints(found, port.get("name") or "", protocol), affinity)
            result[Frontend(ip, protocol, port["port"])] = backends
            for external in spec.get("externalIPs") or ():
                result[Frontend(external, protocol, port["port"])] = backends
            if port.get("nodePort"):
                result[Frontend(node_ip, protocol, port["nodePort"])] = backends
    return result


def endpoints(slices: Iterable[Object], port: str, protocol: str) -> tuple[tuple[str, int], ...]:
    """Returns a service port's endpoints: the ready ones, else those that still serve while ending."""
    ready: set[tuple[str, int]] = set()
    serving: set[tuple[str, int]] = set()
    for item in slices:
        numbers = [
            p["port"]
            for p in item.get("ports") or ()
            if (p.get("name") or "") == port and p.get("protocol", "TCP") == protocol
        ]
        for endpoint in item.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            pairs = {(ip, n) for ip in endpoint.get("addresses") or () for n in numbers}
            if conditions.get("ready") is not False:
                ready |= pairs
            elif conditions.get("serving") and conditions.get("terminating"):
                serving |= pairs
    return tuple(sorted(ready or serving))
