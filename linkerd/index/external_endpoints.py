"""Which EndpointSlices the external workloads of a service need: objects in, actions out.

Endpoints stay in the slice that they are in, so that a change touches as few slices as it can.
Source: linkerd2 controller/api/destination/external-workload/endpoints_{controller,reconciler}.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from linkerd.model.external import ExternalWorkload
from linkerd.model.objects import EndpointSlice, Service, ServicePort, SliceEndpoint

MANAGER = "linkerd-external-workloads-controller"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
ENDPOINTS_MAX = 100
"""Per slice."""

_SERVICE_NAME = "kubernetes.io/service-name"
_HEADLESS = "service.kubernetes.io/headless"
_ZONE = "topology.kubernetes.io/zone"


Ports = tuple[tuple[str, int, str], ...]
"""(name, number, protocol), sorted."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make a slice."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Replace:
    """Write a slice anew, if it is still the one that was seen."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a slice."""

    name: str


Action = Create | Replace | Delete


@dataclass(frozen=True, slots=True, order=True)
class _Member:
    """One endpoint of a slice, in the form in which it is compared."""

    name: str
    ip: str
    ready: bool
    zone: str
    hostname: str
    uid: str = ""


def is_ours(piece: EndpointSlice) -> bool:
    """Whether we manage a slice."""
    return piece.metadata.label(MANAGED_BY) == MANAGER


def is_covered(service: Service) -> bool:
    """Whether external workloads can be endpoints of a service."""
    return (
        service.metadata.namespace != "kube-system"
        and service.spec.type != "ExternalName"
        and bool(service.spec.selector)
    )


def selects(service: Service, workload: ExternalWorkload) -> bool:
    """Whether a service's selector means a workload."""
    labels = workload.metadata.labels or {}
    selector = service.spec.selector or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def plan(
    service: Service | None, workloads: Iterable[ExternalWorkload], slices: Iterable[EndpointSlice]
) -> list[Action]:
    """Returns what makes the slices of a service right; nothing when they are.

    Args:
        service: The service, None when it is gone.
        workloads: External workloads of its namespace.
        slices: Slices of the service that we manage.
    """
    existing = sorted(slices, key=lambda piece: piece.metadata.name)
    if service is None or not is_covered(service):
        return [Delete(piece.metadata.name) for piece in existing]
    chosen = [
        each
        for each in workloads
        if selects(service, each) and each.metadata.deletion_timestamp is None
    ]
    wanted = _wanted(service, chosen)
    actions: list[Action] = []
    placed: dict[tuple[str, Ports], set[_Member]] = {}
    room: dict[tuple[str, Ports], list[tuple[EndpointSlice, list[_Member], bool]]] = {}
    for piece in existing:
        group = piece.address_type, _slice_ports(piece)
        members = [_member(entry) for entry in piece.endpoints or ()]
        current = {(each.name, each.ip): each for each in wanted.get(group, ())}
        taken = {(each.name, each.ip) for each in placed.get(group, ())}
        kept = [
            current[each.name, each.ip]
            for each in members
            if (each.name, each.ip) in current and (each.name, each.ip) not in taken
        ]
        placed.setdefault(group, set()).update(kept)
        if not kept:
            actions.append(Delete(piece.metadata.name))
        else:
            room.setdefault(group, []).append((piece, kept, not _alike(kept, members)))
    for group, members_wanted in sorted(wanted.items()):
        rest = sorted(set(members_wanted) - placed.get(group, set()))
        for piece, kept, changed in room.get(group, ()):
            space = ENDPOINTS_MAX - len(kept)
            added, rest = rest[:space], rest[space:]
            if added or changed:
                actions.append(Replace(_body(service, group, [*kept, *added], piece)))
        actions += [
            Create(_body(service, group, rest[at : at + ENDPOINTS_MAX], None))
            for at in range(0, len(rest), ENDPOINTS_MAX)
        ]
    return actions


def _wanted(
    service: Service, workloads: list[ExternalWorkload]
) -> dict[tuple[str, Ports], list[_Member]]:
    found: dict[tuple[str, Ports], list[_Member]] = {}
    families = _families(service)
    for workload in workloads:
        ports = _ports(service, workload)
        if not ports and service.spec.ports:
            continue
        for ip in workload.ips:
            family = _family(ip)
            if family in families:
                member = _Member(
                    workload.metadata.name,
                    ip,
                    workload.ready,
                    workload.metadata.label(_ZONE) or "",
                    workload.metadata.name if _is_headless(service) else "",
                    workload.metadata.uid,
                )
                found.setdefault((family, ports), []).append(member)
    return found


def _families(service: Service) -> tuple[str, ...]:
    if service.spec.ip_families:
        return service.spec.ip_families
    if _is_headless(service):
        return "IPv4", "IPv6"
    return tuple({_family(ip) for ip in service.ips}) or ("IPv4",)


def _family(ip: str) -> str:
    try:
        return f"IPv{ipaddress.ip_address(ip).version}"
    except ValueError:
        return ""


def _is_headless(service: Service) -> bool:
    return service.spec.cluster_ip == "None"


def _ports(service: Service, workload: ExternalWorkload) -> Ports:
    """The service's ports that a workload declares, with the numbers that they have there."""
    found = []
    for port in service.spec.ports or ():
        number = _target(port, workload)
        if number:
            found.append((port.name, number, port.protocol or "TCP"))
    return tuple(sorted(found))


def _target(port: ServicePort, workload: ExternalWorkload) -> int:
    protocol = port.protocol or "TCP"
    target = port.target_port
    for declared in workload.spec.ports or ():
        if (declared.protocol or "TCP") != protocol:
            continue
        if isinstance(target, str) and target and not target.isdigit():
            if declared.name == target:
                return declared.port
        elif declared.port == (int(target) if target else port.port):
            return declared.port
    return 0


def _slice_ports(piece: EndpointSlice) -> Ports:
    return tuple(
        sorted(
            (each.name or "", each.port or 0, each.protocol or "TCP") for each in piece.ports or ()
        )
    )


def _member(entry: SliceEndpoint) -> _Member:
    ready = entry.conditions is not None and entry.conditions.ready is True
    return _Member(
        entry.target_ref.name if entry.target_ref is not None else "",
        entry.addresses[0] if entry.addresses else "",
        ready,
        entry.zone or "",
        entry.hostname or "",
    )


def _alike(wanted: list[_Member], stored: list[_Member]) -> bool:
    def compared(members: list[_Member]) -> list[tuple[str, str, bool, str, str]]:
        return [(m.name, m.ip, m.ready, m.zone, m.hostname) for m in members]

    return compared(wanted) == compared(stored)


def _body(
    service: Service,
    group: tuple[str, Ports],
    members: list[_Member],
    piece: EndpointSlice | None,
) -> dict[str, Any]:
    family, ports = group
    meta = service.metadata
    labels = {MANAGED_BY: MANAGER, _SERVICE_NAME: meta.name}
    if _is_headless(service):
        labels[_HEADLESS] = ""
    metadata: dict[str, Any] = {
        "namespace": meta.namespace,
        "labels": labels,
        "ownerReferences": [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "name": meta.name,
                "uid": meta.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    if piece is None:
        metadata["generateName"] = f"linkerd-external-{meta.name}-"
    else:
        metadata["name"] = piece.metadata.name
        metadata["resourceVersion"] = piece.metadata.resource_version
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": family,
        "ports": [
            {"name": name, "port": number, "protocol": protocol} for name, number, protocol in ports
        ],
        "endpoints": [_endpoint(meta.namespace, each) for each in members],
    }


def _endpoint(namespace: str, member: _Member) -> dict[str, Any]:
    found: dict[str, Any] = {
        "addresses": [member.ip],
        "conditions": {"ready": member.ready, "serving": member.ready, "terminating": False},
        "targetRef": {
            "kind": "ExternalWorkload",
            "namespace": namespace,
            "name": member.name,
            "uid": member.uid,
        },
    }
    if member.zone:
        found["zone"] = member.zone
    if member.hostname:
        found["hostname"] = member.hostname
    return found
