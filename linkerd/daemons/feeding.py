"""Watches → indices → boards: how a daemon's state follows the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Protocol

from linkerd.kube.client import KubeClient
from linkerd.kube.resources import Resource
from linkerd.kube.watch import Applied, Deleted, Reset
from linkerd.serve.readiness import Readiness


class Index(Protocol):
    """A synchronous state machine over objects; each method returns the topics that changed."""

    def apply(self, kind: str, item: Any) -> set[Any]:
        """Takes a created or changed object."""

    def delete(self, kind: str, item: Any) -> set[Any]:
        """Takes a deleted object."""

    def reset(self, kind: str, items: Iterable[Any]) -> set[Any]:
        """Takes all objects of a kind."""


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
