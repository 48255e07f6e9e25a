"""Which objects a command line means: `deploy web api`, `deploy/web svc/api`, `pods -l app=web`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linkerd.cli.local import _kinds
from linkerd.errors import UsageError
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import Resource


@dataclass(frozen=True)
class Named:
    """One object by name; `namespace` is None for kinds without."""

    resource: Resource
    name: str
    namespace: str | None

    def __str__(self) -> str:
        """As kubectl prints it: `deployment.apps/web`."""
        return f"{self.kind}/{self.name}"

    @property
    def kind(self) -> str:
        """As kubectl prints it: `deployment.apps`."""
        return kind_of(self.resource.group, self.resource.kind)


def kind_of(group: str, kind: str) -> str:
    """Returns a kind as kubectl prints it: `deployment.apps`, `pod`."""
    return f"{kind.lower()}.{group}" if group else kind.lower()


async def find(
    kube: KubeClient, words: list[str], namespace: str, *, selector: str = "", every: bool = False
) -> list[Named]:
    """Returns the objects that the words name, or that a selector or `every` chooses.

    Raises:
        UsageError: the words name no kind, or no object and nothing else chooses.
    """
    if any("/" in word for word in words):
        pairs = [word.partition("/") for word in words]
        if any(not slash or not name for _, slash, name in pairs):
            raise UsageError("there is no need to specify a resource type as a separate argument")
        return [await _named(kube, kind, name, namespace) for kind, _, name in pairs]
    if not words:
        raise UsageError("you must specify the type of resource")
    kinds, names = words[0].split(","), words[1:]
    if names:
        return [await _named(kube, kind, name, namespace) for kind in kinds for name in names]
    if not selector and not every:
        raise UsageError("resource(s) were provided, but no name, label selector or --all")
    found: list[Named] = []
    for kind in kinds:
        resource = await _kinds.resolve(kube, kind)
        where = namespace if resource.namespaced else None
        bodies = await kube.list(resource, where, label_selector=selector)
        found += [Named(resource, body["metadata"]["name"], where) for body in bodies]
    return found


async def of(kube: KubeClient, body: dict[str, Any], namespace: str) -> Named:
    """Returns what a manifest names.

    Raises:
        NotFound: its kind is not served.
    """
    resource = await kube.resource_for(body["apiVersion"], body["kind"])
    where = body["metadata"].get("namespace") or namespace if resource.namespaced else None
    return Named(resource, body["metadata"]["name"], where)


async def _named(kube: KubeClient, kind: str, name: str, namespace: str) -> Named:
    resource = await _kinds.resolve(kube, kind)
    return Named(resource, name, namespace if resource.namespaced else None)
