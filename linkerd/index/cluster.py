"""The destination service's view of a cluster: objects in, endpoints and profiles out.

    topics = cluster.apply(pod)                   what changed, for `Board.changed`
    value, topics = cluster.endpoints(key)        what is true now, and what it was made from

Synchronous and without IO, so that between an event and its topics nothing else happens.
Topics are ("endpoints", namespace, service), ("service", …), ("profile", …), ("ip", address),
("host", address), ("node", name) and ("externals", namespace). Results depend only on the objects there are, never on the
order in which they came.
Source: linkerd2 controller/api/destination/** (decisions), named at each function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from linkerd.errors import LinkerdError, NotFound, WireError
from linkerd.index.external_endpoints import MANAGED_BY, MANAGER
from linkerd.index.slices import (
    filtered,
    one_family,
    plain_endpoint,
    slice_port,
    slice_service,
    slice_targets,
    weight,
)
from linkerd.index.store import Store
from linkerd.index.workloads import MeshSettings, external_endpoint, pod_endpoint
from linkerd.model import profiles
from linkerd.model.endpoints import Endpoint, EndpointSet, Profile, Rules
from linkerd.model.external import ExternalWorkload
from linkerd.model.names import OPAQUE_PORTS, ServiceName
from linkerd.model.objects import (
    EndpointSlice,
    Named,
    OwnerReference,
    Pod,
    Server,
    Service,
    ServiceProfile,
    SliceEndpoint,
)
from linkerd.model.ports import port_set

Topic = tuple[str, ...]
Kind = str

_ZONE = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class EndpointsKey:
    """Which endpoints are asked for, by which class of callers.

    Unless `filtered`, the service's traffic policy and topology hints do not count.
    """

    service: ServiceName
    port: int
    node: str = ""
    filtered: bool = True


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """Whose profile is asked for: a service or an address."""

    port: int
    service: ServiceName | None = None
    ip: str = ""
    fqdn: str = ""
    caller_namespace: str = ""
    node: str = ""


class Ambiguous(LinkerdError):
    """Several objects claim an address."""

    grpc_status = 9


class Cluster:
    """All objects and the questions about them."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._families = ("IPv4", "IPv6") if settings.ipv6 else ("IPv4",)
        self.services: Store[Service] = Store(ip=lambda s: s.ips, namespace=_namespace)
        self.slices: Store[EndpointSlice] = Store(
            service=slice_service,
            pod=lambda piece: slice_targets(piece, "Pod"),
            external=lambda piece: slice_targets(piece, "ExternalWorkload"),
            manager=_manager,
        )
        self.external_workloads: Store[ExternalWorkload] = Store(
            ip=lambda item: item.ips, namespace=_namespace
        )
        self.pods: Store[Pod] = Store(
            ip=_pod_ips, host=_pod_hosts, namespace=_namespace, owner=_pod_owner
        )
        self.servers: Store[Server] = Store(namespace=_namespace)
        self.profiles: Store[ServiceProfile] = Store()
        self.nodes: Store[Named] = Store()
        self.replica_sets: Store[Named] = Store()
        self.jobs: Store[Named] = Store()
        self._tables: dict[Kind, tuple[Store[Any], Callable[[Any, Any], set[Topic]]]] = {
            "services": (self.services, self._service_changed),
            "endpointslices": (self.slices, self._slice_changed),
            "pods": (self.pods, self._pod_changed),
            "externalworkloads": (self.external_workloads, self._external_changed),
            "servers": (self.servers, self._server_changed),
            "serviceprofiles": (self.profiles, self._profile_changed),
            "nodes": (self.nodes, self._node_changed),
            "replicasets": (
                self.replica_sets,
                lambda a, b: self._owner_changed("ReplicaSet", a, b),
            ),
            "jobs": (self.jobs, lambda a, b: self._owner_changed("Job", a, b)),
        }
        self._endpoints: dict[tuple[str, str], dict[tuple[str, int, str | None], Endpoint]] = {}

    # objects in

    def apply(self, kind: Kind, item: Any) -> set[Topic]:
        """Takes a created or changed object; returns the topics that changed."""
        store, changed = self._tables[kind]
        return changed(store.apply(item), item)

    def delete(self, kind: Kind, item: Any) -> set[Topic]:
        """Takes a deleted object; returns the topics that changed."""
        store, changed = self._tables[kind]
        before = store.delete(item.metadata.key)
        return changed(before, None) if before is not None else set()

    def reset(self, kind: Kind, items: Iterable[Any]) -> set[Topic]:
        """Takes all objects of a kind; others of that kind are gone."""
        store, changed = self._tables[kind]
        topics: set[Topic] = set()
        kept: set[tuple[str, str]] = set()
        for item in items:
            kept.add(item.metadata.key)
            before = store.get(item.metadata.key)
            if before != item:
                topics |= changed(store.apply(item), item)
        for key in store.all_keys():
            if key not in kept:
                topics |= changed(store.delete(key), None)
        return topics

    # questions

    def endpoints(self, key: EndpointsKey) -> tuple[EndpointSet, set[Topic]]:
        """Returns the endpoints of a service port.

        An unknown service or port has none.
        Source: linkerd2 watcher/endpoints_watcher.go, endpoint_translator.go (filters).
        """
        name = key.service
        topics: set[Topic] = {("endpoints", *name.key)}
        zone = ""
        if key.node:
            topics.add(("node", key.node))
            zone = self._zone(key.node) or ""
        labels = (("namespace", name.namespace), ("service", name.name))
        service = self.services.get(name.key)
        if service is None:
            return EndpointSet(labels, {}, zone), topics
        found: dict[tuple[str, int], tuple[Endpoint, SliceEndpoint]] = {}
        for piece in self.slices.group("service", name.key):
            if piece.address_type not in self._families:
                continue
            port = slice_port(piece, service, key.port)
            if port is None:
                continue
            for entry in piece.endpoints or ():
                if name.instance and entry.hostname != name.instance:
                    continue
                if entry.conditions is not None and entry.conditions.ready is False:
                    continue
                for address in entry.addresses:
                    endpoint = self._endpoint(piece, entry, address, port, key.port)
                    if endpoint is not None:
                        found.setdefault(endpoint.address, (endpoint, entry))
        if self._settings.ipv6:
            found = one_family(found)
        if key.filtered and not name.instance:
            found = filtered(found, service, key.node, zone)
        chosen = {address: endpoint for address, (endpoint, _) in sorted(found.items())}
        if self._settings.zone_weights and zone:
            chosen = {a: replace(e, weight=weight(e, zone)) for a, e in chosen.items()}
        return EndpointSet(labels, chosen, zone), topics

    def fqdn(self, namespace: str, name: str) -> str:
        """Returns the name of a service, which is also the name of its profile."""
        return self._settings.mesh.service_fqdn(namespace, name)

    def service(self, name: ServiceName) -> Service:
        """Returns a service.

        Raises:
            NotFound: there is none.
            WireError: it has no endpoints of its own (ExternalName).
        """
        service = self.services.get(name.key)
        if service is None:
            raise NotFound(f"service {name.namespace}/{name.name} not found")
        if service.spec.type == "ExternalName":
            raise WireError(f"service {name.namespace}/{name.name} is an ExternalName service")
        return service

    def profile(self, key: ProfileKey) -> tuple[Profile, set[Topic]]:
        """Returns the profile of a service, a pod or an address.

        Raises:
            NotFound: the named service or instance does not exist.
            Ambiguous: several objects have the address.
        Source: linkerd2 controller/api/destination/server.go (GetProfile).
        """
        if key.service is None:
            return self._ip_profile(key)
        if key.service.instance:
            return self._instance_profile(key, key.service)
        return self._service_profile(key, key.service)

    # profiles

    def _ip_profile(self, key: ProfileKey) -> tuple[Profile, set[Topic]]:
        topics: set[Topic] = {("ip", key.ip)}
        services = self.services.group("ip", key.ip)
        if len(services) > 1:
            raise Ambiguous(f"several services have the address {key.ip}")
        if services:
            profile, more = self._service_profile(key, ServiceName(*services[0].metadata.key))
            return profile, topics | more
        topics.add(("host", key.ip))
        pod = self._pod_at(key.ip, key.port)
        zone = self._zone(key.node) if key.node else ""
        if pod is None:
            return self._external_profile(key, zone or ""), topics
        port = _container_port(pod, key.ip, key.port)
        endpoint = self._pod_endpoint(pod, key.ip, port, self._pod_zone(pod))
        if port != key.port:
            endpoint = replace(endpoint, port=key.port)
        return self._endpoint_profile(pod.metadata.namespace, endpoint, zone or ""), topics

    def _external_profile(self, key: ProfileKey, zone: str) -> Profile:
        """The profile of an external workload's address, else of any address."""
        found = [
            each
            for each in self.external_workloads.group("ip", key.ip)
            if any(port.port == key.port for port in each.spec.ports or ())
        ]
        if len(found) > 1:
            raise Ambiguous(f"several external workloads have the address {key.ip}:{key.port}")
        if not found:
            return Profile(endpoint=Endpoint(key.ip, key.port), client_zone=zone)
        own_zone = found[0].metadata.label(_ZONE) or ""
        endpoint = self._external_endpoint(found[0], key.ip, key.port, own_zone)
        return self._endpoint_profile(found[0].metadata.namespace, endpoint, zone)

    def _instance_profile(self, key: ProfileKey, name: ServiceName) -> tuple[Profile, set[Topic]]:
        topics: set[Topic] = {("endpoints", *name.key)}
        members, more = self.endpoints(EndpointsKey(name, key.port, key.node))
        for endpoint in members.endpoints.values():
            profile = self._endpoint_profile(name.namespace, endpoint, members.client_zone)
            return profile, topics | more
        raise NotFound(f"no endpoint {name.instance} in service {name.namespace}/{name.name}")

    def _endpoint_profile(self, namespace: str, endpoint: Endpoint, zone: str) -> Profile:
        labels = tuple(sorted((*endpoint.labels, ("namespace", namespace))))
        return Profile(
            opaque=endpoint.opaque, endpoint=replace(endpoint, labels=labels), client_zone=zone
        )

    def _service_profile(self, key: ProfileKey, name: ServiceName) -> tuple[Profile, set[Topic]]:
        topics: set[Topic] = {("service", *name.key)}
        service = self.services.get(name.key)
        if service is None:
            raise NotFound(f"service {name.namespace}/{name.name} not found")
        if not any(port.port == key.port for port in service.spec.ports or ()):
            return Profile(empty=True), topics
        fqdn = self._settings.mesh.service_fqdn(name.namespace, name.name)
        rules: Rules | None = None
        source: tuple[str, str] | None = None
        for namespace in dict.fromkeys((key.caller_namespace, name.namespace)):
            if not namespace:
                continue
            topics.add(("profile", namespace, fqdn))
            stored = self.profiles.get((namespace, fqdn))
            if stored is not None and source is None:
                try:
                    domain = self._settings.mesh.cluster_domain
                    rules = profiles.rules(stored.spec, namespace, domain)
                except WireError:
                    continue  # the validator refuses such a profile; an old one is passed over
                source = (namespace, fqdn)
        opaque = key.port in _service_opaque(service, self._settings)
        profile = Profile(
            fqdn=key.fqdn or fqdn,
            service=(name.namespace, name.name, key.port),
            profile=source,
            opaque=opaque,
            rules=rules,
        )
        return profile, topics

    def _pod_at(self, ip: str, port: int) -> Pod | None:
        pods = [pod for pod in self.pods.group("ip", ip) if _is_running(pod)]
        if len(pods) > 1:
            raise Ambiguous(f"several pods have the address {ip}")
        if pods:
            return pods[0]
        hosts = [
            pod for pod in self.pods.group("host", ip) if _is_running(pod) and port in _hosted(pod)
        ]
        if len(hosts) > 1:
            raise Ambiguous(f"several pods have the address {ip}:{port}")
        return hosts[0] if hosts else None

    # endpoints

    def _endpoint(
        self, piece: EndpointSlice, entry: SliceEndpoint, address: str, port: int, asked: int
    ) -> Endpoint | None:
        target = entry.target_ref
        if target is None:
            return plain_endpoint(piece.metadata, address, port, entry.zone, asked, self._settings)
        key = target.namespace or piece.metadata.namespace, target.name
        if target.kind == "ExternalWorkload":
            workload = self.external_workloads.get(key)
            if workload is None:
                return None
            return self._external_endpoint(workload, address, port, entry.zone or "")
        if target.kind != "Pod":
            return None
        pod = self.pods.get(key)
        if pod is None:
            return None
        return self._pod_endpoint(pod, address, port, entry.zone or "")

    def _pod_endpoint(self, pod: Pod, ip: str, port: int, zone: str | None) -> Endpoint:
        cached = self._endpoints.setdefault(pod.metadata.key, {})
        endpoint = cached.get((ip, port, zone))
        if endpoint is None:
            servers = self.servers.group("namespace", pod.metadata.namespace)
            endpoint = pod_endpoint(pod, ip, port, self._settings, servers, self._owners, zone)
            if len(cached) < 64:
                cached[ip, port, zone] = endpoint
        return endpoint

    def _external_endpoint(
        self, workload: ExternalWorkload, ip: str, port: int, zone: str
    ) -> Endpoint:
        servers = self.servers.group("namespace", workload.metadata.namespace)
        return external_endpoint(workload, ip, port, self._settings, servers, zone)

    def _owners(self, kind: str, namespace: str, name: str) -> tuple[OwnerReference, ...] | None:
        store = self.replica_sets if kind == "ReplicaSet" else self.jobs
        found = store.get((namespace, name))
        return None if found is None else found.metadata.owner_references or ()

    def _zone(self, node: str) -> str | None:
        found = self.nodes.get(("", node))
        return found.metadata.label(_ZONE) if found is not None else None

    def _pod_zone(self, pod: Pod) -> str:
        return self._zone(pod.spec.node_name) or ""

    # what a change means

    def _service_changed(self, before: Service | None, after: Service | None) -> set[Topic]:
        topics: set[Topic] = set()
        for service in (before, after):
            if service is not None:
                topics |= {("endpoints", *service.metadata.key), ("service", *service.metadata.key)}
                topics |= {("ip", ip) for ip in service.ips}
        return topics

    def _slice_changed(
        self, before: EndpointSlice | None, after: EndpointSlice | None
    ) -> set[Topic]:
        return {
            ("endpoints", *key)
            for piece in (before, after)
            if piece is not None
            for key in slice_service(piece)
        }

    def _pod_changed(self, before: Pod | None, after: Pod | None) -> set[Topic]:
        pod = after or before
        if pod is None:
            return set()
        self._endpoints.pop(pod.metadata.key, None)
        topics = self._pod_services(pod)
        for each in (before, after):
            if each is not None:
                topics |= {("ip", ip) for ip in _pod_ips(each)}
                topics |= {("host", ip) for ip in _pod_hosts(each)}
        return topics

    def _pod_services(self, pod: Pod) -> set[Topic]:
        return {
            ("endpoints", *key)
            for piece in self.slices.group("pod", pod.metadata.key)
            for key in slice_service(piece)
        }

    def _external_changed(
        self, before: ExternalWorkload | None, after: ExternalWorkload | None
    ) -> set[Topic]:
        topics: set[Topic] = set()
        for each in (before, after):
            if each is not None:
                topics.add(("externals", each.metadata.namespace))
                topics |= {("ip", ip) for ip in each.ips}
                topics |= {
                    ("endpoints", *key)
                    for piece in self.slices.group("external", each.metadata.key)
                    for key in slice_service(piece)
                }
        return topics

    def _server_changed(self, before: Server | None, after: Server | None) -> set[Topic]:
        server = after or before
        if server is None or (
            before is not None and after is not None and before.spec == after.spec
        ):
            return set()
        topics: set[Topic] = set()
        for pod in self.pods.group("namespace", server.metadata.namespace):
            topics |= self._pod_changed(pod, pod)
        for workload in self.external_workloads.group("namespace", server.metadata.namespace):
            topics |= self._external_changed(workload, workload)
        return topics

    def _profile_changed(
        self, before: ServiceProfile | None, after: ServiceProfile | None
    ) -> set[Topic]:
        profile = after or before
        return set() if profile is None else {("profile", *profile.metadata.key)}

    def _node_changed(self, before: Named | None, after: Named | None) -> set[Topic]:
        zones = [each.metadata.label(_ZONE) for each in (before, after) if each is not None]
        node = after or before
        if node is None or (len(zones) == 2 and zones[0] == zones[1]):
            return set()
        topics: set[Topic] = {("node", node.metadata.name)}
        for pod in self.pods:
            if pod.spec.node_name == node.metadata.name:
                topics |= self._pod_changed(pod, pod)
        return topics

    def _owner_changed(self, kind: str, before: Named | None, after: Named | None) -> set[Topic]:
        item = after or before
        if item is None or (
            before is not None
            and after is not None
            and before.metadata.owner_references == after.metadata.owner_references
        ):
            return set()
        topics: set[Topic] = set()
        owner = (kind, item.metadata.namespace, item.metadata.name)
        for pod in self.pods.group("owner", owner):
            topics |= self._pod_changed(pod, pod)
        return topics


def _manager(piece: EndpointSlice) -> tuple[str, ...]:
    manager = piece.metadata.label(MANAGED_BY)
    return (manager,) if manager == MANAGER else ()


def _namespace(item: Any) -> tuple[str]:
    return (item.metadata.namespace,)


def _pod_ips(pod: Pod) -> tuple[str, ...]:
    return () if pod.spec.host_network else pod.ips


def _pod_hosts(pod: Pod) -> tuple[str, ...]:
    return (pod.status.host_ip,) if pod.status.host_ip and _hosted(pod) else ()


def _pod_owner(pod: Pod) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (owner.kind, pod.metadata.namespace, owner.name)
        for owner in pod.metadata.owner_references or ()
    )


def _hosted(pod: Pod) -> dict[int, int]:
    """Host ports to container ports."""
    return {
        port.host_port: port.container_port
        for container in pod.spec.all_containers
        for port in container.ports or ()
        if port.host_port
    }


def _container_port(pod: Pod, ip: str, port: int) -> int:
    return port if ip in pod.ips else _hosted(pod).get(port, port)


def _is_running(pod: Pod) -> bool:
    return pod.status.phase not in ("Succeeded", "Failed")


def _service_opaque(service: Service, settings: MeshSettings) -> Any:
    annotation = service.metadata.annotation(OPAQUE_PORTS)
    if annotation is None:
        return settings.default_opaque
    names = {each.name: each.port for each in service.spec.ports or () if each.name}
    return port_set(annotation, names)
