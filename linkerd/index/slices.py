"""EndpointSlices: whose they are, which port of theirs is meant, who may use which endpoint.

Source: linkerd2 controller/api/destination/watcher/endpoints_watcher.go, endpoint_translator.go.
"""

from __future__ import annotations

from linkerd.index.workloads import MeshSettings
from linkerd.model.endpoints import WEIGHT, Endpoint
from linkerd.model.objects import EndpointSlice, Meta, Service, ServicePort, SliceEndpoint

_MIRROR_FQ_NAME = "mirror.linkerd.io/remote-svc-fq-name"
_MIRROR_IDENTITY = "mirror.linkerd.io/remote-gateway-identity"

Found = dict[tuple[str, int], tuple[Endpoint, SliceEndpoint]]
"""Address → endpoint, and the entry that it was made from."""


def slice_service(piece: EndpointSlice) -> tuple[tuple[str, str], ...]:
    """Returns (namespace, name) of the service that a slice belongs to; nothing if none."""
    service = piece.service
    return ((piece.metadata.namespace, service),) if service else ()


def slice_targets(piece: EndpointSlice, kind: str) -> set[tuple[str, str]]:
    """Returns (namespace, name) of the objects of a kind that a slice has as endpoints."""
    return {
        (entry.target_ref.namespace or piece.metadata.namespace, entry.target_ref.name)
        for entry in piece.endpoints or ()
        if entry.target_ref is not None and entry.target_ref.kind == kind
    }


def service_port(service: Service, port: int) -> ServicePort | None:
    """Returns a service's port by its number, None if it declares none such."""
    return next((each for each in service.spec.ports or () if each.port == port), None)


def slice_port(piece: EndpointSlice, service: Service, port: int) -> int | None:
    """Returns the port number in this slice that a service's port leads to, None if it has none."""
    declared = service_port(service, port)
    if declared is None:
        numbers = [each.port for each in piece.ports or () if each.port]
        return port if port in numbers else None
    for each in piece.ports or ():
        if (each.name or "") == declared.name and each.port:
            return each.port
    return None


def one_family(
    found: Found,
) -> Found:
    """Returns the addresses without the IPv4 addresses of workloads that also have an IPv6 address.

    Source: linkerd2 endpoint_translator.go (selectAddressFamily).
    """
    dual = {
        (entry.target_ref.kind, entry.target_ref.name)
        for (ip, _), (_, entry) in found.items()
        if ":" in ip and entry.target_ref is not None
    }
    if not dual:
        return found
    return {
        address: (endpoint, entry)
        for address, (endpoint, entry) in found.items()
        if ":" in address[0]
        or entry.target_ref is None
        or (entry.target_ref.kind, entry.target_ref.name) not in dual
    }


def filtered(
    found: Found,
    service: Service,
    node: str,
    zone: str,
) -> Found:
    """Returns what a caller on `node` in `zone` may use.

    Source: linkerd2 endpoint_translator.go (filterAddresses).
    """
    if service.spec.internal_traffic_policy == "Local":
        return {k: v for k, v in found.items() if v[1].node_name == node}
    hinted = {}
    for address, (endpoint, entry) in found.items():
        zones = entry.hints.for_zones if entry.hints is not None else None
        if not zones:
            return found
        if any(each.name == zone for each in zones):
            hinted[address] = (endpoint, entry)
    return hinted or found


def weight(endpoint: Endpoint, zone: str) -> int:
    """Returns the weight of an endpoint for callers in `zone`."""
    return WEIGHT * 10 if endpoint.zone == zone else WEIGHT


def plain_endpoint(
    metadata: Meta, ip: str, port: int, zone: str | None, asked: int, settings: MeshSettings
) -> Endpoint:
    """Returns the endpoint of an address without a pod: outside the cluster, or a mirrored service's gateway."""
    override = metadata.annotation(_MIRROR_FQ_NAME)
    identity = metadata.annotation(_MIRROR_IDENTITY) or ""
    return Endpoint(
        ip,
        port,
        identity=identity,
        meshed=bool(identity),
        hint="h2" if identity and settings.h2_upgrade else "",
        authority_override=f"{override}:{asked}" if override else "",
        zone=zone,
    )
