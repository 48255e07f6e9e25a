"""Metrics that are read off the state when they are asked for, so that nothing keeps them up.

Streams and objects that are gone have no series, where Linkerd's stay for ever.
Source: linkerd2 controller/api/destination/watcher/prometheus.go, controller/k8s/metadata_api.go,
policy-controller/k8s/index/src/{inbound,outbound}/index/metrics.rs (names and labels).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from linkerd.errors import LinkerdError
from linkerd.index.cluster import Cluster, EndpointsKey, ProfileKey
from linkerd.index.fleet import Fleet
from linkerd.index.inbound import Inbound
from linkerd.index.outbound import OutboundIndex, TargetKey
from linkerd.index.store import Store
from linkerd.model.endpoints import EndpointSet, Profile
from linkerd.model.outbound import Fallback, Outbound
from linkerd.serve.board import Board

_CLUSTER = "local"
_ENDPOINTS = ("cluster", "namespace", "service", "port", "hostname", "nodename")
_PROFILES = ("namespace", "profile")


class _State(Collector):
    """Yields the families that a function makes."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def destination(
    registry: CollectorRegistry,
    fleet: Fleet,
    endpoints: Board[EndpointsKey, EndpointSet],
    profiles: Board[ProfileKey, Profile | LinkerdError],
) -> None:
    """Registers the destination service's: subscribers, updates and sizes of caches."""

    def families() -> Iterator[Metric]:
        yield from _endpoints(fleet.local, endpoints)
        yield from _profiles(fleet.local, profiles)
        clusters = {_CLUSTER: fleet.local, **fleet.remotes}
        for kind in _destination_stores(fleet.local):
            sizes = {(name,): len(_destination_stores(c)[kind]) for name, c in clusters.items()}
            yield _gauge(f"{kind}_cache_size", "Objects that are known.", ("cluster",), sizes)
        yield GaugeMetricFamily(
            "cluster_store_size", "Clusters that are followed.", len(fleet.remotes)
        )

    registry.register(_State(families))


def policy(
    registry: CollectorRegistry,
    inbound: Inbound,
    outbound: OutboundIndex,
    targets: Board[TargetKey, Outbound | LinkerdError],
) -> None:
    """Registers the policy controller's: sizes of its indices."""
    registry.register(_State(lambda: _policy_families(inbound, outbound, targets)))


def _endpoints(cluster: Cluster, board: Board[EndpointsKey, EndpointSet]) -> Iterator[Metric]:
    subscribers: Counter[tuple[str, ...]] = Counter()
    updates: Counter[tuple[str, ...]] = Counter()
    pods: dict[tuple[str, ...], int] = {}
    exists: dict[tuple[str, ...], int] = {}
    for key, value, readers, changes in board.stats():
        name = key.service
        labels = (_CLUSTER, name.namespace, name.name, str(key.port), name.instance, key.node)
        subscribers[labels] += readers
        updates[labels] += changes
        pods[labels] = len(value.endpoints)
        exists[labels] = int(cluster.services.get(name.key) is not None)
    yield _gauge(
        "endpoints_subscribers", "Streams of a service's endpoints.", _ENDPOINTS, subscribers
    )
    yield _counter("endpoints_updates", "Changes of a service's endpoints.", _ENDPOINTS, updates)
    yield _gauge("endpoints_pods", "Endpoints of a service.", _ENDPOINTS, pods)
    yield _gauge("endpoints_exists", "Whether a service exists.", _ENDPOINTS, exists)


def _profiles(
    cluster: Cluster, board: Board[ProfileKey, Profile | LinkerdError]
) -> Iterator[Metric]:
    subscribers: Counter[tuple[str, ...]] = Counter()
    updates: Counter[tuple[str, ...]] = Counter()
    services: Counter[tuple[str, ...]] = Counter()
    workloads = workload_updates = 0
    for key, value, readers, changes in board.stats():
        if isinstance(value, Profile) and value.endpoint is not None:
            workloads += readers
            workload_updates += changes
            continue
        service = value.service if isinstance(value, Profile) else None
        if service is None and key.service is not None:
            service = (*key.service.key, key.port)
        if service is None:
            continue
        namespace, name, _ = service
        services[namespace, name] += readers
        for owner in dict.fromkeys((key.caller_namespace or namespace, namespace)):
            labels = (owner, cluster.fqdn(namespace, name))
            subscribers[labels] += readers
            updates[labels] += changes
    yield _gauge("profile_subscribers", "Streams of a profile.", _PROFILES, subscribers)
    yield _counter("profile_updates", "Changes of a profile.", _PROFILES, updates)
    yield _gauge(
        "service_subscribers", "Streams of a service's settings.", ("namespace", "name"), services
    )
    yield GaugeMetricFamily("workload_subscribers", "Streams of addresses' profiles.", workloads)
    yield _counter("workload_updates", "Changes of those.", (), {(): workload_updates})


def _destination_stores(cluster: Cluster) -> dict[str, Store[Any]]:
    return {
        "endpointslices": cluster.slices,
        "externalworkload": cluster.external_workloads,
        "job": cluster.jobs,
        "node": cluster.nodes,
        "pod": cluster.pods,
        "replicaset": cluster.replica_sets,
        "server": cluster.servers,
        "service": cluster.services,
        "serviceprofile": cluster.profiles,
    }


def _policy_families(
    inbound: Inbound,
    outbound: OutboundIndex,
    targets: Board[TargetKey, Outbound | LinkerdError],
) -> Iterator[Metric]:
    addresses = sum(len(service.ips) for service in outbound.services)
    for name, count in (
        ("service_index", addresses),
        ("service_info_index", len(outbound.services)),
    ):
        yield GaugeMetricFamily(f"outbound_index_{name}_size", "Services that are known.", count)
    routes: set[tuple[str, str]] = set()
    for store in outbound.routes.values():
        for route in store:
            for parent in route.parents:
                if parent.port is None:
                    routes.add((parent.namespace or route.metadata.namespace, parent.name))
    ports = {
        (value.namespace, value.name, value.port)
        for _, value, _, _ in targets.stats()
        if not isinstance(value, LinkerdError | Fallback)
    }
    for name, keys in (
        ("service_route_index", Counter((namespace,) for namespace, _ in routes)),
        ("service_port_route_index", Counter((namespace,) for namespace, _, _ in ports)),
    ):
        yield _gauge(
            f"outbound_index_{name}_size",
            "Parents of routes, or ports in use.",
            ("namespace",),
            keys,
        )
    http = [store for kind, store in inbound.routes.items() if kind.startswith("httproutes")]
    for name, stores in (
        ("meshtls_authentication", [inbound.mesh_tls]),
        ("network_authentication", [inbound.networks]),
        ("pod", [inbound.pods]),
        ("external_workload", [inbound.external_workloads]),
        ("server", [inbound.servers]),
        ("server_authorization", [inbound.server_authorizations]),
        ("authorization_policy", [inbound.policies]),
        ("http_route", http),
    ):
        sizes = Counter((item.metadata.namespace,) for store in stores for item in store)
        yield _gauge(
            f"inbound_index_{name}_index_size", "Objects that are known.", ("namespace",), sizes
        )


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Any) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, labels: tuple[str, ...], values: Any) -> Metric:
    """Returns a counter under Linkerd's name, which lacks the `_total` that a declared one gets."""
    family = UnknownMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
