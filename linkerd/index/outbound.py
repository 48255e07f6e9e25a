"""Outbound policy: Services, EgressNetworks and routes in; the policy for an address or a name out.

Topics are ("ip", address), ("Service", namespace, name) and ("EgressNetwork", namespace, name)
for an object and what is attached to it, and ("egress", namespace) for the EgressNetworks of a
namespace. Results depend only on the objects there are.
Source: linkerd2 policy-controller/k8s/index/src/outbound/** (decisions).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from linkerd.errors import NotFound
from linkerd.index import networks
from linkerd.index.attachments import (
    EGRESS_NETWORK,
    SERVICE,
    Lookups,
    Parent,
    attached,
    new_route_stores,
    parent_keys,
)
from linkerd.index.store import Store
from linkerd.model import annotations as settings_of
from linkerd.model.names import OPAQUE_PORTS, Mesh
from linkerd.model.objects import Service, ServicePort
from linkerd.model.outbound import (
    Fallback,
    Outbound,
    OutboundEgress,
    OutboundService,
    UndefinedPort,
)
from linkerd.model.policy import Timeouts
from linkerd.model.ports import PortSet, port_set
from linkerd.model.route_objects import EgressNetwork
from linkerd.model.routes import KINDS

Topic = tuple[str, ...]
T = TypeVar("T")

_APP_PROTOCOLS = {"http": "http1", "kubernetes.io/h2c": "http2", "grpc": "http2"}


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
    global_egress_namespace: str = "linkerd-egress"


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
        self._networks = tuple(networks.block_of(cidr) for cidr in settings.cluster_networks)
        self.services: Store[Service] = Store(ip=lambda service: service.ips)
        self.egress_networks: Store[EgressNetwork] = Store(namespace=_namespace)
        self.routes = new_route_stores()
        self._stores: dict[str, Store[Any]] = {
            "services": self.services,
            "egressnetworks": self.egress_networks,
            **self.routes,
        }
        self._areas: dict[tuple[str, str], tuple[networks.Area, ...]] = {}
        self._lookups = Lookups(
            lambda key: self.services.get(key) is not None,
            lambda key: self.egress_networks.get(key) is not None,
            lambda namespace, name, port: f"{settings.mesh.service_fqdn(namespace, name)}:{port}",
        )

    def apply(self, kind: str, item: Any) -> set[Topic]:
        """Takes a created or changed object; returns the topics that changed."""
        return self._changed(kind, self._stores[kind].apply(item), item)

    def delete(self, kind: str, item: Any) -> set[Topic]:
        """Takes a deleted object; returns the topics that changed."""
        return self._changed(kind, self._stores[kind].delete(item.metadata.key), None)

    def reset(self, kind: str, items: Iterable[Any]) -> set[Topic]:
        """Takes all objects of a kind; others of that kind are gone."""
        store = self._stores[kind]
        topics: set[Topic] = set()
        kept: set[tuple[str, str]] = set()
        for item in items:
            kept.add(item.metadata.key)
            topics |= self.apply(kind, item)
        for key in store.all_keys():
            if key not in kept:
                topics |= self._changed(kind, store.delete(key), None)
        return topics

    def target(self, key: TargetKey) -> tuple[Outbound, set[Topic]]:
        """Returns the policy for a target.

        Raises:
            NotFound: an address of the cluster that is no service's: the proxy uses the profile.
        """
        if not key.ip:
            return self._service(key, key.namespace, key.name)
        topics = self.lookup_topics(key)
        services = self.services.group("ip", key.ip)
        if services:
            service = services[0]
            namespace, name = service.metadata.key
            topics.add((SERVICE, namespace, name))
            if not any(port.port == key.port for port in service.spec.ports or ()):
                return UndefinedPort(namespace, name, key.port), topics
            value, more = self._service(key, namespace, name)
            return value, topics | more
        address = ipaddress.ip_address(key.ip)
        network = self._egress_network(address, key.caller_namespace)
        if network is not None:
            egress, more = self._egress(key, network)
            return egress, topics | more
        if not any(address in inside for inside in self._networks):
            return Fallback(key.ip, key.port), topics
        raise NotFound(f"no such service: {key.ip}:{key.port}")

    def lookup_topics(self, key: TargetKey) -> set[Topic]:
        """Returns what decides whose a target is."""
        if not key.ip:
            return {(SERVICE, key.namespace, key.name)}
        return {
            ("ip", key.ip),
            ("egress", key.caller_namespace),
            ("egress", self._settings.global_egress_namespace),
        }

    # parts of an answer

    def _service(
        self, key: TargetKey, namespace: str, name: str
    ) -> tuple[OutboundService, set[Topic]]:
        """The policy of a service's port; there is one for services that do not exist (yet)."""
        service = self.services.get((namespace, name))
        notes = (service.metadata.annotations or {}) if service is not None else {}
        parent = _parent(SERVICE, namespace, name, key, notes)
        routes, backends = attached(self.routes, parent, self._lookups)
        value = OutboundService(
            namespace,
            name,
            key.port,
            self._lookups.authority(namespace, name, key.port),
            self._protocol(service, key.port),
            accrual=_or_none(settings_of.accrual, notes),
            timeouts=parent.timeouts,
            http_retry=parent.http_retry,
            grpc_retry=parent.grpc_retry,
            bias=_or_none(settings_of.bias, notes),
            routes=routes,
        )
        return value, {parent.key, *backends}

    def _egress(self, key: TargetKey, network: EgressNetwork) -> tuple[OutboundEgress, set[Topic]]:
        namespace, name = network.metadata.key
        notes = network.metadata.annotations or {}
        parent = _parent(EGRESS_NETWORK, namespace, name, key, notes)
        routes, backends = attached(self.routes, parent, self._lookups)
        value = OutboundEgress(
            namespace,
            name,
            key.ip,
            key.port,
            network.spec.traffic_policy == "Allow",
            "opaque" if key.port in self._opaque(notes, {}) else "detect",
            accrual=_or_none(settings_of.accrual, notes),
            timeouts=parent.timeouts,
            http_retry=parent.http_retry,
            grpc_retry=parent.grpc_retry,
            routes=routes,
        )
        return value, {parent.key, *backends}

    def _egress_network(self, address: networks.Address, namespace: str) -> EgressNetwork | None:
        """The network of the client's namespace; only if that has none at all, a global one."""
        group = self.egress_networks.group("namespace", namespace)
        if not group:
            group = self.egress_networks.group("namespace", self._settings.global_egress_namespace)
        return networks.best(address, ((each, self._areas[each.metadata.key]) for each in group))

    def _protocol(self, service: Service | None, port: int) -> str:
        if service is None:
            return "opaque" if port in self._settings.default_opaque else "detect"
        ports = service.spec.ports or ()
        declared: ServicePort | None = next((each for each in ports if each.port == port), None)
        if declared is not None and declared.app_protocol:
            return _APP_PROTOCOLS.get(declared.app_protocol.lower(), "opaque")
        names = {each.name: each.port for each in ports if each.name}
        return "opaque" if port in self._opaque(service.metadata.annotations, names) else "detect"

    def _opaque(self, notes: dict[str, str] | None, names: dict[str, int]) -> PortSet:
        annotation = (notes or {}).get(OPAQUE_PORTS)
        if annotation is None:
            return self._settings.default_opaque
        return port_set(annotation, names)

    # what a change means

    def _changed(self, kind: str, before: Any, after: Any) -> set[Topic]:
        if before == after:
            return set()
        if kind in KINDS:
            return {
                key for each in (before, after) if each is not None for key in parent_keys(each)
            }
        topics: set[Topic] = set()
        for item in (before, after):
            if item is None:
                continue
            key = item.metadata.key
            if kind == "services":
                topics |= {(SERVICE, *key), *(("ip", ip) for ip in item.ips)}
            else:
                topics |= {(EGRESS_NETWORK, *key), ("egress", item.metadata.namespace)}
                if after is None:
                    self._areas.pop(key, None)
                else:
                    self._areas[key] = networks.areas(after, self._networks)
        return topics


def _parent(kind: str, namespace: str, name: str, key: TargetKey, notes: dict[str, str]) -> Parent:
    return Parent(
        kind,
        namespace,
        name,
        key.port,
        key.caller_namespace,
        key.ip,
        timeouts=_or_none(settings_of.timeouts, notes) or Timeouts(),
        http_retry=_or_none(settings_of.http_retry, notes),
        grpc_retry=_or_none(settings_of.grpc_retry, notes),
    )


def _namespace(item: Any) -> tuple[str]:
    return (item.metadata.namespace,)


def _or_none(parse: Callable[[Any], T], annotations: Any) -> T | None:
    try:
        return parse(annotations)
    except ValueError:
        return None
