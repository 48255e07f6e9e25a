"""What the cluster holds, as metrics-api needs it: objects by kind, and the pods of each. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from linkerd.viz.objects import KUBE_KIND, Meta, Object, Pod, Service
from linkerd.viz.selector import Selector

Key = tuple[str, str, str]
"""Kind, namespace, name; the namespace is empty for namespaces."""


class Cluster:
    """An index of watched objects: feed it with reset, apply and delete."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = defaultdict(dict)
        self._owned: dict[Key, list[Pod]] | None = None

    def reset(self, kind: str, objects: Iterable[Object]) -> None:
        """Replaces everything known of a kind."""
        self._objects[kind] = {_key(obj.metadata): obj for obj in objects}
        self._owned = None

    def apply(self, kind: str, obj: Object) -> None:
        """Adds or replaces one object."""
        self._objects[kind][_key(obj.metadata)] = obj
        self._owned = None

    def delete(self, kind: str, obj: Object) -> None:
        """Forgets one object; an unknown one is no error."""
        self._objects[kind].pop(_key(obj.metadata), None)
        self._owned = None

    def objects(
        self, kind: str, namespace: str = "", name: str = "", matches: Selector | None = None
    ) -> Iterator[Object]:
        """Yields the objects of a kind; empty arguments select all."""
        for (ns, own), obj in self._objects[kind].items():
            if (
                (not namespace or kind == "namespace" or ns == namespace)
                and (not name or own == name)
                and (matches is None or matches(obj.metadata.labels or {}))
            ):
                yield obj

    def pod(self, namespace: str, name: str) -> Pod | None:
        """Returns a pod by name."""
        found = self._objects["pod"].get((namespace, name))
        return found if isinstance(found, Pod) else None

    def pods_of(self, kind: str, obj: Object) -> list[Pod]:
        """Returns the pods that belong to an object, whatever their phase."""
        meta = obj.metadata
        if isinstance(obj, Pod):
            return [obj]
        if isinstance(obj, Service):
            wanted = (obj.spec.selector or {}).items()
            return [
                pod
                for pod in self.pods()
                if wanted
                and pod.metadata.namespace == meta.namespace
                and wanted <= (pod.metadata.labels or {}).items()
            ]
        if self._owned is None:
            self._owned = self._own()
        return self._owned.get((kind, meta.namespace, meta.name), [])

    def pods(self) -> Iterator[Pod]:
        """Yields all pods."""
        for obj in self._objects["pod"].values():
            if isinstance(obj, Pod):
                yield obj

    def owners(self, obj: Object) -> Iterator[Key]:
        """Yields the owner of an object, the owner's owner and so on.

        An owner that we do not know is yielded too: it may be newer than our view.
        """
        meta = obj.metadata
        for _ in range(4):
            owner = meta.controller
            kind = KUBE_KIND.get(owner.kind) if owner else None
            if owner is None or kind is None:
                return
            yield kind, meta.namespace, owner.name
            above = self._objects[kind].get((meta.namespace, owner.name))
            if above is None:
                return
            meta = above.metadata

    def _own(self) -> dict[Key, list[Pod]]:
        owned: dict[Key, list[Pod]] = defaultdict(list)
        for pod in self.pods():
            owned["namespace", "", pod.metadata.namespace].append(pod)
            for key in self.owners(pod):
                owned[key].append(pod)
        return owned


def _key(meta: Meta) -> tuple[str, str]:
    return meta.namespace, meta.name
