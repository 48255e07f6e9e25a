"""What the controllers know: every watched object, by name, by uid and by owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from linkerd.kube.resources import Resource

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One object; `namespace` is empty for cluster-wide kinds."""

    plural: str
    namespace: str
    name: str


def key_of(resource: Resource, obj: Object) -> Key:
    """Returns the key of an object of kind `resource`."""
    metadata = obj["metadata"]
    return Key(resource.plural, metadata.get("namespace") or "", metadata["name"])


def controller_of(obj: Object) -> Object | None:
    """Returns the owner reference that controls `obj`, None if nothing does."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


class World:
    """Objects as last seen; older versions of an object never replace newer ones."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[Key, Object]] = defaultdict(dict)
        self._owned: dict[str, dict[str, set[Key]]] = defaultdict(lambda: defaultdict(set))
        self._uids: dict[str, Key] = {}

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        """Returns one object, None if it is not there."""
        return self._objects[resource.plural].get(Key(resource.plural, namespace, name))

    def at(self, key: Key) -> Object | None:
        """Returns the object at `key`, None if it is not there."""
        return self._objects[key.plural].get(key)

    def all(self, resource: Resource, namespace: str | None = None) -> Iterator[Object]:
        """Yields the objects of a kind, of one namespace or of all."""
        for key, obj in self._objects[resource.plural].items():
            if namespace is None or key.namespace == namespace:
                yield obj

    def owned(self, owner: Object, resource: Resource) -> list[Object]:
        """Returns the objects of a kind that `owner` controls, by name."""
        keys = self._owned[resource.plural].get(owner["metadata"]["uid"], ())
        found = (self._objects[resource.plural][key] for key in sorted(keys))
        return [obj for obj in found if (controller_of(obj) or {}).get("uid") == _uid(owner)]

    def dependents(self, uid: str) -> list[Key]:
        """Returns the keys of all objects that name `uid` among their owners."""
        return [key for by_owner in self._owned.values() for key in sorted(by_owner.get(uid, ()))]

    def has_uid(self, uid: str) -> bool:
        """Returns whether an object with this uid is known."""
        return uid in self._uids

    def apply(self, resource: Resource, obj: Object) -> Object | None:
        """Takes an object; returns what it replaced.

        An object that is older than the one known changes nothing and is returned itself.
        """
        key = key_of(resource, obj)
        before = self._objects[resource.plural].get(key)
        if before is not None:
            if _uid(before) == _uid(obj) and _version(obj) < _version(before):
                return obj
            self._forget(resource, key, before)
        self._objects[resource.plural][key] = obj
        self._uids[_uid(obj)] = key
        for reference in obj["metadata"].get("ownerReferences") or ():
            self._owned[resource.plural][reference["uid"]].add(key)
        return before

    def delete(self, resource: Resource, obj: Object) -> None:
        """Forgets an object, unless another of its name took its place."""
        key = key_of(resource, obj)
        known = self._objects[resource.plural].get(key)
        if known is not None and _uid(known) == _uid(obj):
            self._forget(resource, key, known)
            del self._objects[resource.plural][key]

    def reset(self, resource: Resource, objects: Iterable[Object]) -> list[Object]:
        """Replaces all objects of a kind; returns those that are gone."""
        fresh = {key_of(resource, obj): obj for obj in objects}
        gone = [
            obj
            for key, obj in self._objects[resource.plural].items()
            if key not in fresh or _uid(fresh[key]) != _uid(obj)
        ]
        for obj in gone:
            self.delete(resource, obj)
        for obj in fresh.values():
            self.apply(resource, obj)
        return gone

    def _forget(self, resource: Resource, key: Key, obj: Object) -> None:
        self._uids.pop(_uid(obj), None)
        by_owner = self._owned[resource.plural]
        for reference in obj["metadata"].get("ownerReferences") or ():
            keys = by_owner.get(reference["uid"])
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del by_owner[reference["uid"]]


def _uid(obj: Object) -> str:
    return str(obj["metadata"].get("uid"))


def _version(obj: Object) -> int:
    # Our own API server counts; a version that is no number cannot come from it.
    return int(obj["metadata"].get("resourceVersion") or 0)
