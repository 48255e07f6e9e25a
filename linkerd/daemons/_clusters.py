"""Follows the clusters that are linked: their credentials are Secrets of the control plane.

    Secrets ──► ClusterStore ──► index.Fleet.add / remove, one set of watches per cluster

Source: linkerd2 controller/api/destination/watcher/cluster_store.go (type, labels, annotations).
There, a Secret that is edited has no effect until a restart; here its cluster is followed anew.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from linkerd import log, runtime
from linkerd.daemons.feeding import follow
from linkerd.errors import SettingsError
from linkerd.index.cluster import Cluster
from linkerd.index.fleet import Fleet
from linkerd.index.workloads import MeshSettings
from linkerd.kube.client import KubeClient
from linkerd.kube.config import KubeConfig, from_text
from linkerd.kube.resources import SECRETS, Resource
from linkerd.kube.watch import Applied, Deleted, Reset
from linkerd.model.objects import Meta, Struct
from linkerd.serve.readiness import Readiness

SECRET_TYPE = "mirror.linkerd.io/remote-kubeconfig"

_CLUSTER_NAME = "multicluster.linkerd.io/cluster-name"
_TRUST_DOMAIN = "multicluster.linkerd.io/trust-domain"
_CLUSTER_DOMAIN = "multicluster.linkerd.io/cluster-domain"
_CLUSTERS_MAX = 100

_log = log.logger(__name__)


class Secret(Struct, frozen=True):
    """A Secret."""

    metadata: Meta = Meta()
    data: dict[str, str] | None = None
    type: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """How a cluster is reached and what its names end with."""

    name: str
    config: KubeConfig
    trust_domain: str
    cluster_domain: str


def link(secret: Secret) -> Link:
    """Returns what a Secret says.

    Raises:
        SettingsError: something is missing or malformed.
    """
    meta = secret.metadata
    what = f"secret {meta.namespace}/{meta.name}"
    found = {
        "cluster name": meta.label(_CLUSTER_NAME),
        "trust domain": meta.annotation(_TRUST_DOMAIN),
        "cluster domain": meta.annotation(_CLUSTER_DOMAIN),
    }
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise SettingsError(f"{what} has no {' and no '.join(missing)}")
    try:
        text = base64.b64decode((secret.data or {})["kubeconfig"], validate=True).decode()
    except KeyError:
        raise SettingsError(f"{what} has no kubeconfig") from None
    except ValueError:
        raise SettingsError(f"{what}: kubeconfig is no base64 of text") from None
    name, trust_domain, cluster_domain = (str(value) for value in found.values())
    return Link(name, from_text(text, what), trust_domain, cluster_domain)


class ClusterStore:
    """Keeps a fleet equal to the Secrets.

    Args:
        kube: The local cluster.
        namespace: The control plane's.
        fleet: What to fill.
        settings: The local mesh's; a linked cluster's differ in their domains.
        watched: Which kinds to follow there.
        changed: Takes the topics that changed.
    """

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        fleet: Fleet,
        settings: MeshSettings,
        watched: Sequence[tuple[Resource, type[Any]]],
        changed: Callable[[set[Hashable]], None],
    ) -> None:
        self._kube, self._namespace = kube, namespace
        self._fleet, self._settings = fleet, settings
        self._watched, self._changed = watched, changed
        self._running: dict[str, tuple[str, Link, asyncio.Event]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Follows the Secrets, for ever; on leaving, all clusters are let go."""
        decode = msgspec.json.Decoder(Secret).decode
        selector = f"type={SECRET_TYPE}"
        events = self._kube.watch(SECRETS, self._namespace, field_selector=selector, decode=decode)
        try:
            async for event in events:
                match event:
                    case Reset(objects):
                        names = {each.metadata.name for each in objects}
                        for secret in objects:
                            self._apply(secret)
                        for name in [n for n in self._running if n not in names]:
                            self._drop(name)
                    case Applied(item):
                        self._apply(item)
                    case Deleted(item):
                        self._drop(item.metadata.name)
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _apply(self, secret: Secret) -> None:
        name = secret.metadata.name
        if secret.type != SECRET_TYPE:
            return
        try:
            found = link(secret)
        except SettingsError as error:
            _log.warn("cluster not followed", problem=error.message)
            self._drop(name)
            return
        known = self._running.get(name)
        if known is not None and known[1] == found:
            return
        self._drop(name)
        if len(self._running) >= _CLUSTERS_MAX:
            _log.warn("cluster not followed", problem=f"more than {_CLUSTERS_MAX} are linked")
            return
        stop = asyncio.Event()
        self._running[name] = (found.name, found, stop)
        runtime.spawn(self._follow(found, stop), name=f"cluster {found.name}", into=self._tasks)
        _log.info("cluster followed", cluster=found.name)

    def _drop(self, secret: str) -> None:
        known = self._running.pop(secret, None)
        if known is not None:
            name, _, stop = known
            stop.set()
            self._changed(set(self._fleet.remove(name)))
            _log.info("cluster let go", cluster=name)

    async def _follow(self, found: Link, stop: asyncio.Event) -> None:
        """Feeds an index of a cluster until told to stop; it counts once everything was listed."""
        mesh = replace(
            self._settings.mesh,
            trust_domain=found.trust_domain,
            cluster_domain=found.cluster_domain,
        )
        cluster = Cluster(replace(self._settings, mesh=mesh))
        ready = Readiness(*(resource.plural for resource, _ in self._watched))

        def changed(topics: set[Hashable]) -> None:
            self._changed(
                {("remote", found.name, *topic) for topic in topics if isinstance(topic, tuple)}
            )

        async with (
            KubeClient(found.config, user_agent="linkerd-destination") as kube,
            asyncio.TaskGroup() as tasks,
        ):
            watches = [
                tasks.create_task(
                    follow(
                        kube,
                        resource,
                        decode,
                        [(cluster, resource.plural)],
                        changed,
                        ready,
                        resource.plural,
                    )
                )
                for resource, decode in self._watched
            ]
            watches.append(tasks.create_task(self._join(found.name, cluster, ready, stop)))
            await stop.wait()
            for watch in watches:
                watch.cancel()

    async def _join(
        self, name: str, cluster: Cluster, ready: Readiness, stop: asyncio.Event
    ) -> None:
        await ready.wait()
        if not stop.is_set():
            self._changed(set(self._fleet.add(name, cluster)))
