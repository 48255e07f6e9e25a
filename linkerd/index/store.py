"""Objects of one kind by (namespace, name), with sets of them by other keys."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from linkerd.model.objects import Meta


class HasMeta(Protocol):
    """Anything with metadata."""

    @property
    def metadata(self) -> Meta:
        """Its metadata."""


O = TypeVar("O", bound=HasMeta)  # noqa: E741
Key = tuple[str, str]


class Store(Generic[O]):
    """Holds objects; `by` groups their keys by what a function of the object returns."""

    def __init__(self, **by: Callable[[O], Iterable[Hashable]]) -> None:
        self._objects: dict[Key, O] = {}
        self._by = by
        self._groups: dict[str, dict[Hashable, dict[Key, None]]] = {name: {} for name in by}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[O]:
        return iter(self._objects.values())

    def get(self, key: Key) -> O | None:
        """Returns an object, None if there is none."""
        return self._objects.get(key)

    def all_keys(self) -> list[Key]:
        """Returns all keys."""
        return list(self._objects)

    def apply(self, item: O) -> O | None:
        """Stores an object; returns the one that it replaces."""
        key = item.metadata.key
        before = self._objects.get(key)
        if before is not None:
            self._ungroup(key, before)
        self._objects[key] = item
        for name, function in self._by.items():
            for group in function(item):
                self._groups[name].setdefault(group, {})[key] = None
        return before

    def delete(self, key: Key) -> O | None:
        """Removes an object; returns it."""
        before = self._objects.pop(key, None)
        if before is not None:
            self._ungroup(key, before)
        return before

    def group(self, name: str, value: Hashable) -> list[O]:
        """Returns the objects of a group, in the order of their keys."""
        return [self._objects[key] for key in sorted(self._groups[name].get(value, ()))]

    def _ungroup(self, key: Key, item: O) -> None:
        for name, function in self._by.items():
            groups = self._groups[name]
            for group in function(item):
                members = groups.get(group)
                if members is not None:
                    members.pop(key, None)
                    if not members:
                        del groups[group]
