"""Writes statuses while this process holds the lease.

    index topics ("status", kind, namespace, name) ──► changed ──► run: one patch per object

Source: linkerd2 policy-controller/k8s/status/src/index.rs (Controller), metrics.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from linkerd import log
from linkerd.daemons._work import Work
from linkerd.errors import Conflict, KubeError, NotFound
from linkerd.index.status import StatusIndex
from linkerd.kube.client import MERGE, KubeClient
from linkerd.kube.resources import Resource
from linkerd.model.routes import CONTROLLER

RECONCILE_S = 10.0
_DURATIONS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_log = log.logger(__name__)


class Metrics:
    """Families of status writing."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(f"resource_status_{name}", text, registry=registry)

        self.patches = counter("patches", "Patches that succeeded.")
        self.errors = counter("patch_api_errors", "Patches that the API refused.")
        self.timeouts = counter("patch_timeouts", "Patches that timed out.")
        self.enqueues = counter("patch_enqueues", "Objects that were found to need a patch.")
        self.dequeues = counter("patch_dequeues", "Objects that were taken up.")
        self.drops = counter("patch_drops", "Objects dropped as this process does not lead.")
        self.overflows = counter("patch_enqueue_overflows", "Always 0: what is pending is a set.")
        self.seconds = Histogram(
            "resource_status_patch_duration_seconds",
            "Duration of patches in seconds.",
            buckets=_DURATIONS_S,
            registry=registry,
        )


class StatusWriter:
    """Keeps the statuses in the cluster equal to the index's.

    Args:
        kube: The cluster.
        index: Says what statuses should be.
        resources: The index's kind → the API's; kinds that are not served are left out.
        leads: Whether this process may write now.
        timeout_s: Bound on one patch.
        metrics: Where to count.
    """

    def __init__(
        self,
        kube: KubeClient,
        index: StatusIndex,
        resources: dict[str, Resource],
        leads: Callable[[], bool],
        timeout_s: float,
        metrics: Metrics,
    ) -> None:
        self._kube = kube
        self._index = index
        self._resources = resources
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._work: Work[tuple[str, str, str]] = Work(
            lambda entry: self._write(*entry),
            leads=leads,
            everything=lambda: _entries(index.topics()),
            every_s=RECONCILE_S,
            added=metrics.enqueues.inc,
            taken=self._taken,
        )

    def changed(self, topics: set[Hashable]) -> None:
        """Notes the statuses among `topics`, to be checked soon if this process leads."""
        self._work.note(_entries(topics))

    def check_all(self) -> None:
        """Has all statuses checked."""
        self._work.note_all()

    async def run(self) -> None:
        """Writes, for ever."""
        await self._work.run()

    def _taken(self, leads: bool) -> None:
        self._metrics.dequeues.inc()
        if not leads:
            self._metrics.drops.inc()

    async def _write(self, kind: str, namespace: str, name: str) -> bool:
        """Patches one object if it needs that; returns whether it need not be tried again."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        patch = self._index.patch(kind, (namespace, name), now)
        resource = self._resources.get(kind)
        if patch is None or resource is None:
            return True
        status, version = patch
        body: dict[str, Any] = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name, "resourceVersion": version},
            "status": status,
        }
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._kube.patch(
                    resource,
                    name,
                    body,
                    namespace,
                    type=MERGE,
                    subresource="status",
                    field_manager=CONTROLLER,
                )
        except TimeoutError:
            self._metrics.timeouts.inc()
            return False
        except (NotFound, Conflict):
            return True  # gone, or changed: its event has the status checked again
        except KubeError as error:
            self._metrics.errors.inc()
            _log.warn("status not written", kind=resource.kind, name=name, error=error.message)
            return False
        self._metrics.patches.inc()
        self._metrics.seconds.observe(time.monotonic() - started_s)
        return True


def _entries(topics: Iterable[Hashable]) -> Iterator[tuple[str, str, str]]:
    for topic in topics:
        if isinstance(topic, tuple) and topic[0] == "status":
            yield topic[1], topic[2], topic[3]
