"""Outbound policy: Services in; the policy for an address or a name out.

Topics are ("ip", address) and ("service", namespace, name). Routes attached to Services and
EgressNetworks are not followed yet: `linkerd.daemons.policy` says so when there are any.
Source: linkerd2 policy-controller/k8s/index/src/outbound/** (decisions).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from linkerd.errors import NotFound
from linkerd.index.store import Store
from linkerd.model import annotations as settings_of
from linkerd.model.names import OPAQUE_PORTS, Mesh
from linkerd.model.objects import Service, ServicePort
from linkerd.model.policy import Fallback, Outbound, OutboundService, Timeouts, UndefinedPort
from linkerd.model.ports import PortSet, port_set

Topic = tuple[str, ...]
T = TypeVar("T")

_APP_PROTOCOLS = {"http": "http1", "kubernetes.io/h2c": "http2"}


@dataclass(frozen=True, slots=True)
class OutboundSettings:
    """What defaults are made of."""

    mesh: Mesh = field(default_factory=Mesh)
    default_opaque: PortSet = field(default_factory=PortSet)
    cluster_networks: tuple[str, ...] = (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "192.168.0.0/16",
    )


@dataclass(frozen=True, slots=True)
class TargetKey:
    """Where traffic goes, and from which namespace: an address, else a service's name."""

    port: int
    ip: str = ""
    namespace: str = ""
    name: str = ""
    caller_namespace: str = ""


class OutboundIndex:
    """All objects that decide how traffic leaves a pod."""

    def __init__(self, settings: OutboundSettings) -> None:
        self._settings = settings
        self._networks = tuple(
            ipaddress.ip_network(cidr, strict=False) for cidr in settings.cluster_networks
        )
        self.services: Store[Service] = Store(ip=lambda service: service.ips)

    def apply(self, kind: str, item: Service) -> set[Topic]:
        """Takes a created or changed Service; returns the topics that changed."""
        return _topics(self.services.apply(item), item)

    def delete(self, kind: str, item: Service) -> set[Topic]:
        """Takes a deleted Service; returns the topics that changed."""
        return _topics(self.services.delete(item.metadata.key), None)

    def reset(self, kind: str, items: Iterable[Service]) -> set[Topic]:
        """Takes all Services; others are gone."""
        topics: set[Topic] = set()
        kept: set[tuple[str, str]] = set()
        for item in items:
            kept.add(item.metadata.key)
            topics |= self.apply(kind, item)
        for key in self.services.all_keys():
            if key not in kept:
                topics |= _topics(self.services.delete(key), None)
        return topics

    def target(self, key: TargetKey) -> tuple[Outbound, set[Topic]]:
        """Returns the policy for a target.

        Raises:
            NotFound: an address of the cluster that is no service's: the proxy uses the profile.
        """
        if not key.ip:
            service = self.services.get((key.namespace, key.name))
            topics: set[Topic] = {("service", key.namespace, key.name)}
            return self._service(key.namespace, key.name, key.port, service), topics
        topics = {("ip", key.ip)}
        services = self.services.group("ip", key.ip)
        if services:
            service = services[0]
            namespace, name = service.metadata.key
            topics.add(("service", namespace, name))
            if not any(port.port == key.port for port in service.spec.ports or ()):
                return UndefinedPort(namespace, name, key.port), topics
            return self._service(namespace, name, key.port, service), topics
        address = ipaddress.ip_address(key.ip)
        if not any(address in network for network in self._networks):
            return Fallback(key.ip, key.port), topics
        raise NotFound(f"no such service: {key.ip}:{key.port}")

    def _service(
        self, namespace: str, name: str, port: int, service: Service | None
    ) -> OutboundService:
        fqdn = self._settings.mesh.service_fqdn(namespace, name)
        authority = f"{fqdn}:{port}"
        if service is None:
            protocol = "opaque" if port in self._settings.default_opaque else "detect"
            return OutboundService(namespace, name, port, authority, protocol)
        notes = service.metadata.annotations or {}
        return OutboundService(
            namespace,
            name,
            port,
            authority,
            self._protocol(service, port),
            accrual=_or_none(settings_of.accrual, notes),
            timeouts=_or_none(settings_of.timeouts, notes) or Timeouts(),
            http_retry=_or_none(settings_of.http_retry, notes),
            grpc_retry=_or_none(settings_of.grpc_retry, notes),
        )

    def _protocol(self, service: Service, port: int) -> str:
        declared: ServicePort | None = next(
            (each for each in service.spec.ports or () if each.port == port), None
        )
        if declared is not None and declared.app_protocol:
            return _APP_PROTOCOLS.get(declared.app_protocol.lower(), "opaque")
        annotation = service.metadata.annotation(OPAQUE_PORTS)
        opaque = self._settings.default_opaque
        if annotation is not None:
            names = {each.name: each.port for each in service.spec.ports or () if each.name}
            opaque = port_set(annotation, names)
        return "opaque" if port in opaque else "detect"


def _topics(before: Service | None, after: Service | None) -> set[Topic]:
    topics: set[Topic] = set()
    if before != after:
        for service in (before, after):
            if service is not None:
                topics.add(("service", *service.metadata.key))
                topics |= {("ip", ip) for ip in service.ips}
    return topics


def _or_none(parse: Callable[[Any], T], annotations: Any) -> T | None:
    try:
        return parse(annotations)
    except ValueError:
        return None
