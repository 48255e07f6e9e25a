"""Every object of the cluster: a map in memory over SQLite, and a log to resume watches from.

Guarantees: one writer (the file is locked); versions grow by one with each change and are never
reused; a change is on disk (WAL) before anybody hears of it; listeners hear changes in order.

    put/remove ──► transaction(objects row + log row) ──► memory ──► listeners(change)

The raw JSON of an object is kept as written, so that lists and watches copy bytes only.
Synchronous on purpose: a write takes about 0.05 ms, and without an `await` between reading and
writing no request can see half of another's change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from linkerd.errors import LocalError

#: A Kubernetes object as decoded JSON.
Obj = dict[str, Any]
#: Namespace ("" for cluster-wide objects) and name.
Key = tuple[str, str]

#: Changes that stay in the log; a watch that wants older ones must list again.
LOG_ROWS_KEPT = 10_000
_COMPACT_EVERY = 500
_LOCK_WAIT_MS = 3_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    rv INTEGER NOT NULL, raw BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
    rv INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL,
    name TEXT NOT NULL, type TEXT NOT NULL, raw BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS log_of_object ON log (resource, namespace, name, rv);
"""


class Exists(Exception):
    """There is an object of this name already."""


class Missing(Exception):
    """There is no object of this name."""


class Changed(Exception):
    """The object is not at the version that the caller read."""


class Expired(Exception):
    """The wanted version is older than the log, or was never given out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of an object; `raw` is its JSON with `metadata.resourceVersion` = `rv`."""

    rv: int
    key: Key
    labels: dict[str, str]
    raw: bytes

    def decode(self) -> Obj:
        """Returns a fresh copy that the caller may change."""
        obj: Obj = msgspec.json.decode(self.raw)
        return obj


@dataclass(frozen=True, slots=True)
class Change:
    """What happened at one version.

    `type` is ADDED, MODIFIED or DELETED; `entry` the new version (of a deleted object: its last
    state at the version of the deletion); `before` what it replaced, None if that is not known.
    """

    type: str
    resource: str
    entry: Entry
    before: Entry | None


Listener = Callable[[Change], None]


def _unusable(path: Path | str, error: Exception) -> LocalError:
    if isinstance(error, sqlite3.OperationalError):
        hint = "another API server of this cluster may be running, or the disk is full"
        return LocalError(f"store {path} cannot be opened: {error}", hint=hint)
    hint = "the cluster's objects are lost; `linkerd local delete` makes room for a new one"
    return LocalError(f"store {path} is damaged: {error}", hint=hint)


class Store:
    """The objects of one cluster, by resource ("deployments.apps") and key."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self._db.execute(f"PRAGMA busy_timeout={_LOCK_WAIT_MS}")
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("COMMIT")
            self._objects: dict[str, dict[Key, Entry]] = {}
            self._load()
            row = self._db.execute("SELECT max(rv), min(rv) FROM log").fetchone()
        except (sqlite3.DatabaseError, msgspec.DecodeError) as error:
            self._db.close()
            raise _unusable(path, error) from error
        self._sorted: dict[str, list[Key]] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._version: int = row[0] or 0
        self._oldest: int = row[1] or 1

    def _load(self) -> None:
        rows = self._db.execute("SELECT resource, namespace, name, rv, raw FROM objects")
        for resource, namespace, name, rv, raw in rows:
            entry = _entry(rv, (namespace, name), raw)
            self._objects.setdefault(resource, {})[entry.key] = entry

    @property
    def version(self) -> int:
        """The version of the newest change; 0 before the first."""
        return self._version

    def close(self) -> None:
        """Writes what SQLite holds back and unlocks the file."""
        self._db.close()

    def get(self, resource: str, namespace: str, name: str) -> Entry | None:
        """Returns the current version of an object, None when there is none."""
        objects = self._objects.get(resource)
        return objects.get((namespace, name)) if objects else None

    def list(self, resource: str, namespace: str | None = None) -> list[Entry]:
        """Returns the objects of a resource in the order of namespace and name.

        Args:
            resource: Such as "pods" or "deployments.apps".
            namespace: None for all.
        """
        objects = self._objects.get(resource)
        if not objects:
            return []
        keys = self._sorted.get(resource)
        if keys is None:
            keys = self._sorted[resource] = sorted(objects)
        if namespace is None:
            return [objects[key] for key in keys]
        return [objects[key] for key in keys if key[0] == namespace]

    def resources(self) -> tuple[str, ...]:
        """Returns the resources that have objects."""
        return tuple(resource for resource, objects in self._objects.items() if objects)

    def create(self, resource: str, obj: Obj) -> Entry:
        """Stores a new object and sets its `metadata.resourceVersion`.

        Raises:
            Exists: there is one of this name.
        """
        key = _key(obj)
        if self.get(resource, *key) is not None:
            raise Exists(key)
        return self._write("ADDED", resource, key, obj)

    def update(self, resource: str, obj: Obj, expected_rv: int | None = None) -> Entry:
        """Replaces an object and sets its `metadata.resourceVersion`.

        Raises:
            Missing: there is none of this name.
            Changed: `expected_rv` is given and is not its version.
        """
        key = _key(obj)
        self._expect(resource, key, expected_rv)
        return self._write("MODIFIED", resource, key, obj)

    def delete(self, resource: str, key: Key, expected_rv: int | None = None) -> Entry:
        """Removes an object; returns its last state at the version of the deletion.

        Raises:
            Missing: there is none of this name.
            Changed: `expected_rv` is given and is not its version.
        """
        obj = self._expect(resource, key, expected_rv).decode()
        return self._write("DELETED", resource, key, obj)

    def since(
        self, resource: str, version: int, namespace: str | None = None, *, before: bool = True
    ) -> Iterator[Change]:
        """Yields the changes of a resource after `version`, oldest first.

        Args:
            resource: Such as "pods".
            version: The last one that the caller knows.
            namespace: None for all.
            before: Whether the changes must tell what was replaced, which costs a look-up each.

        Raises:
            Expired: the log does not reach back that far, or `version` lies in the future.
        """
        if not self.reaches(version):
            raise Expired(version)
        wanted = "" if namespace is None else " AND namespace = ?"
        rows = self._db.execute(
            "SELECT rv, namespace, name, type, raw FROM log WHERE rv > ? AND +resource = ?"
            f"{wanted} ORDER BY rv",
            (version, resource, *(() if namespace is None else (namespace,))),
        ).fetchall()
        seen: dict[Key, Entry] = {}
        for rv, where, name, kind, raw in rows:
            key = (where, name)
            entry = _entry(rv, key, raw)
            old = None
            if before and kind != "ADDED":
                old = seen.get(key) or self._previous(resource, entry)
            yield Change(kind, resource, entry, old)
            seen[key] = entry

    def reaches(self, version: int) -> bool:
        """Whether `since` can tell what happened after `version`."""
        return self._oldest - 1 <= version <= self._version

    def listen(self, resource: str, listener: Listener) -> Callable[[], None]:
        """Calls `listener` with each later change of a resource; returns what ends that.

        Listeners must not write to the store and must not raise.
        """
        listeners = self._listeners.setdefault(resource, [])
        listeners.append(listener)
        return lambda: listeners.remove(listener)

    def _previous(self, resource: str, entry: Entry) -> Entry | None:
        row = self._db.execute(
            "SELECT rv, raw FROM log WHERE resource = ? AND namespace = ? AND name = ? AND rv < ? "
            "ORDER BY rv DESC LIMIT 1",
            (resource, *entry.key, entry.rv),
        ).fetchone()
        return _entry(row[0], entry.key, row[1]) if row else None

    def _expect(self, resource: str, key: Key, expected_rv: int | None) -> Entry:
        entry = self.get(resource, *key)
        if entry is None:
            raise Missing(key)
        if expected_rv is not None and entry.rv != expected_rv:
            raise Changed(key)
        return entry

    def _write(self, kind: str, resource: str, key: Key, obj: Obj) -> Entry:
        rv = self._version + 1
        obj["metadata"]["resourceVersion"] = str(rv)
        raw = msgspec.json.encode(obj)
        db = self._db
        db.execute("BEGIN")
        try:
            if kind == "DELETED":
                db.execute(
                    "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
                    (resource, *key),
                )
            else:
                db.execute(
                    "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                    (resource, *key, rv, raw),
                )
            db.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", (rv, resource, *key, kind, raw))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise LocalError(f"store cannot be written: {error}") from error
        return self._publish(kind, resource, _entry(rv, key, raw, obj))

    def _publish(self, kind: str, resource: str, entry: Entry) -> Entry:
        self._version = entry.rv
        objects = self._objects.setdefault(resource, {})
        before = objects.get(entry.key)
        if kind == "DELETED":
            del objects[entry.key]
        else:
            objects[entry.key] = entry
        if kind != "MODIFIED":
            self._sorted.pop(resource, None)
        if entry.rv % _COMPACT_EVERY == 0:
            self._compact()
        change = Change(kind, resource, entry, before)
        for listener in tuple(self._listeners.get(resource, ())):
            listener(change)
        return entry

    def _compact(self) -> None:
        floor = self._version - LOG_ROWS_KEPT
        if floor >= self._oldest:
            self._db.execute("DELETE FROM log WHERE rv <= ?", (floor,))
            self._oldest = floor + 1


def _key(obj: Obj) -> Key:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _entry(rv: int, key: Key, raw: bytes, obj: Obj | None = None) -> Entry:
    decoded = msgspec.json.decode(raw) if obj is None else obj
    return Entry(rv, key, decoded["metadata"].get("labels") or {}, raw)
