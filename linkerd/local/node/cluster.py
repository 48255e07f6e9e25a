"""What the node knows of the cluster: watched objects by kind, namespace and name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from linkerd.kube.client import KubeClient
from linkerd.kube.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    SECRETS,
    SERVICES,
    Resource,
)
from linkerd.kube.watch import Applied, Reset

Object = dict[str, Any]
Key = tuple[str, str]

WATCHED = (SERVICES, ENDPOINT_SLICES, CONFIG_MAPS, SECRETS)


class Cluster:
    """Objects of the kinds in `WATCHED`; `changed(kind, namespace, name)` is told of each change."""

    def __init__(self, changed: Callable[[str, str, str], None]) -> None:
        self._changed = changed
        self._objects: dict[str, dict[Key, Object]] = {kind.kind: {} for kind in WATCHED}
        self._known = {kind.kind: asyncio.Event() for kind in WATCHED}

    async def follow(self, kube: KubeClient, resource: Resource) -> None:
        """Keeps one kind up to date until cancelled."""
        async for event in kube.watch(resource):
            held = self._objects[resource.kind]
            if isinstance(event, Reset):
                held.clear()
                held.update((_key(item), _kinded(item, resource)) for item in event.objects)
                self._known[resource.kind].set()
                self._changed(resource.kind, "", "")
                continue
            key = _key(event.object)
            if isinstance(event, Applied):
                held[key] = _kinded(event.object, resource)
            else:
                held.pop(key, None)
            self._changed(resource.kind, *key)

    async def known(self) -> None:
        """Waits until every kind was listed once."""
        for event in self._known.values():
            await event.wait()

    def has(self, *kinds: str) -> bool:
        """Returns whether these kinds were listed once."""
        return all(self._known[kind].is_set() for kind in kinds)

    def all(self, kind: str) -> Iterable[Object]:
        """Returns all objects of a kind."""
        return self._objects[kind].values()

    def getter(self, namespace: str) -> Callable[[str, str], Object | None]:
        """Returns a look-up by kind and name in a namespace."""
        return lambda kind, name: self._objects[kind].get((namespace, name))

    def services_for(self, namespace: str, links: bool) -> list[Object]:
        """Returns the services whose variables a pod gets: the API's, and its namespace's."""
        services = self._objects["Service"]
        found = {key: item for key, item in services.items() if links and key[0] == namespace}
        api = ("default", "kubernetes")
        if api in services:
            found[api] = services[api]
        return list(found.values())


def _key(item: Object) -> Key:
    meta = item["metadata"]
    return meta.get("namespace") or "", meta["name"]


def _kinded(item: Object, resource: Resource) -> Object:
    item.setdefault("kind", resource.kind)
    return item
