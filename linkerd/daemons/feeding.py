"""Watches → indices → boards: how a daemon's state follows the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from linkerd.errors import KubeError, NotFound
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import Resource
from linkerd.kube.watch import Applied, Deleted, Reset
from linkerd.serve.readiness import Readiness

_RETRY_MIN_S = 0.2
_RETRY_MAX_S = 5.0


class Index(Protocol):
    """A synchronous state machine over objects; each method returns the topics that changed."""

    def apply(self, kind: str, item: Any) -> set[Any]:
        """Takes a created or changed object."""

    def delete(self, kind: str, item: Any) -> set[Any]:
        """Takes a deleted object."""

    def reset(self, kind: str, items: Iterable[Any]) -> set[Any]:
        """Takes all objects of a kind."""


async def served(kube: KubeClient, resource: Resource, versions: Sequence[str]) -> Resource:
    """Returns a kind in the first of `versions` that the server has, else as it is.

    Waits while the server cannot be asked.
    """
    wait_s = _RETRY_MIN_S
    for version in versions:
        path = f"/apis/{resource.group}/{version}"
        while True:
            try:
                listed = await kube.request("GET", path)
            except NotFound:
                break
            except KubeError:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _RETRY_MAX_S)
                continue
            if any(each.get("name") == resource.plural for each in listed.get("resources") or ()):
                return replace(resource, version=version)
            break
    return resource


async def follow(
    kube: KubeClient,
    resource: Resource,
    decode: type[Any],
    indices: Iterable[tuple[Index, str]],
    changed: Callable[[set[Hashable]], None],
    readiness: Readiness,
    task: str,
    *,
    label_selector: str = "",
) -> None:
    """Feeds one kind of objects to indices, for ever.

    Between an event and its topics nothing else runs, so indices need no locks.

    Args:
        kube: The cluster.
        resource: The kind.
        decode: The struct of its objects.
        indices: (index, the index's name of the kind) pairs.
        changed: Takes the topics that changed.
        readiness: Told once the first list was taken.
        task: Its name there.
        label_selector: Restricts the objects.
    """
    targets = list(indices)
    events = kube.watch(resource, None, label_selector=label_selector, decode=decode)
    async for event in events:
        topics: set[Hashable] = set()
        for index, kind in targets:
            match event:
                case Reset(objects):
                    topics |= index.reset(kind, objects)
                case Applied(item):
                    topics |= index.apply(kind, item)
                case Deleted(item):
                    topics |= index.delete(kind, item)
        if topics:
            changed(topics)
        readiness.done(task)
        if isinstance(event, Reset):
            await asyncio.sleep(0)  # a long list must not starve the streams
