"""Writes the EndpointSlices of external workloads while this process holds the lease.

    topics of index.Cluster ──► changed ──► one plan per service ──► create, replace, delete

Source: linkerd2 controller/api/destination/external-workload/endpoints_controller.go (lease, queue
and its metrics).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from linkerd import log
from linkerd.daemons._work import Work
from linkerd.errors import Conflict, KubeError, NotFound
from linkerd.index.cluster import Cluster
from linkerd.index.external_endpoints import MANAGER, Action, Create, Replace, is_ours, plan
from linkerd.index.slices import slice_service
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import ENDPOINT_SLICES
from linkerd.model.objects import EndpointSlice

LEASE = "linkerd-destination-endpoint-write"

_QUEUE = "endpoints_controller_workqueue"
_RECONCILE_S = 60.0
_TIMEOUT_S = 10.0
_SEEN_WITHIN_S = 30.0
_ATTEMPTS = 15

_log = log.logger(__name__)

Key = tuple[str, str]


class Metrics:
    """Families of the controller's queue, named as client-go names them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(f"workqueue_{name}", text, ("name",), registry=registry).labels(_QUEUE)

        self.depth = Gauge("workqueue_depth", "Pending objects.", ("name",), registry=registry)
        self.depth.labels(_QUEUE)
        self.adds = counter("adds", "Objects that became pending.")
        self.retries = counter("retries", "Objects that failed and are tried again.")
        self.drops = counter("drops", "Objects given up until everything is looked at again.")
        self.seconds = Histogram(
            "workqueue_work_duration_seconds",
            "Duration of one object's work in seconds.",
            ("name",),
            registry=registry,
        ).labels(_QUEUE)


class ExternalEndpoints:
    """Keeps the slices in the cluster as the plan wants them.

    Args:
        kube: The cluster.
        cluster: What is known of it.
        leads: Whether this process may write now.
        metrics: Where to count.
    """

    def __init__(
        self, kube: KubeClient, cluster: Cluster, leads: Callable[[], bool], metrics: Metrics
    ) -> None:
        self._kube, self._cluster, self._metrics = kube, cluster, metrics
        # Slices that we wrote and no watch has shown yet, so that none is made twice.
        self._unseen: dict[Key, dict[str, tuple[float, EndpointSlice]]] = {}
        self._work: Work[Key] = Work(
            self._reconcile,
            leads=leads,
            everything=self._services,
            every_s=_RECONCILE_S,
            attempts=_ATTEMPTS,
            added=self._added,
            taken=self._taken,
        )

    def changed(self, topics: set[Hashable]) -> None:
        """Notes the services among `topics` that have or may get external workloads."""
        self._work.note(self._concerned(topics))

    def check_all(self) -> None:
        """Has all services looked at."""
        self._work.note_all()

    async def run(self) -> None:
        """Works, for ever."""
        await self._work.run()

    def _services(self) -> set[Key]:
        cluster = self._cluster
        namespaces = {each.metadata.namespace for each in cluster.external_workloads}
        found = {key for namespace in namespaces for key in self._services_in(namespace)}
        for piece in cluster.slices.group("manager", MANAGER):
            found.update(slice_service(piece))
        return found

    def _services_in(self, namespace: str) -> Iterator[Key]:
        for service in self._cluster.services.group("namespace", namespace):
            yield service.metadata.key

    def _concerned(self, topics: Iterable[Hashable]) -> Iterator[Key]:
        for topic in topics:
            match topic:
                case ("externals", str(namespace)):
                    yield from self._services_in(namespace)
                case ("service" | "endpoints", str(namespace), str(name)):
                    key = namespace, name
                    if self._cluster.external_workloads.group("namespace", namespace) or any(
                        is_ours(piece) for piece in self._cluster.slices.group("service", key)
                    ):
                        yield key

    def _added(self) -> None:
        self._metrics.adds.inc()
        self._metrics.depth.labels(_QUEUE).set(len(self._work))

    def _taken(self, _: bool) -> None:
        self._metrics.depth.labels(_QUEUE).set(len(self._work))

    async def _reconcile(self, key: Key) -> bool:
        started_s = time.monotonic()
        service = self._cluster.services.get(key)
        workloads = self._cluster.external_workloads.group("namespace", key[0])
        slices = self._slices(key, started_s)
        for action in plan(service, workloads, slices):
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await self._do(key, action)
            except (NotFound, Conflict):
                continue  # gone, or changed: its event has the service looked at again
            except (TimeoutError, KubeError) as error:
                _log.warn("endpoint slice not written", service=key, error=str(error))
                self._metrics.retries.inc()
                return False
        self._metrics.seconds.observe(time.monotonic() - started_s)
        return True

    def _slices(self, key: Key, now_s: float) -> list[EndpointSlice]:
        known = {
            piece.metadata.name: piece
            for piece in self._cluster.slices.group("service", key)
            if is_ours(piece)
        }
        unseen = self._unseen.pop(key, {})
        for name, (written_s, piece) in unseen.items():
            if name not in known and now_s - written_s < _SEEN_WITHIN_S:
                known[name] = piece
                self._unseen.setdefault(key, {})[name] = (written_s, piece)
        return list(known.values())

    async def _do(self, key: Key, action: Action) -> None:
        namespace = key[0]
        if isinstance(action, Create):
            stored: dict[str, Any] = await self._kube.create(
                ENDPOINT_SLICES, action.body, namespace
            )
            piece = msgspec.convert(stored, EndpointSlice)
            self._unseen.setdefault(key, {})[piece.metadata.name] = (time.monotonic(), piece)
        elif isinstance(action, Replace):
            await self._kube.replace(ENDPOINT_SLICES, action.body)
        else:
            await self._kube.delete(ENDPOINT_SLICES, action.name, namespace)
