"""Lists and watches: pages with `limit`/`continue`, and endless streams of events.

    store change ──► Watch.offer (selects, queues, bounded) ──► events() ──► encoded lines

A watch that cannot keep up is ended; its client resumes by resourceVersion or lists again.
Source: Kubernetes API concepts (efficient detection of changes, chunking, bookmarks).
"""

from __future__ import annotations

import asyncio
import base64
import collections
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import msgspec

from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.selectors import Fields, Labels
from linkerd.local.apiserver.status import bad_request, gone
from linkerd.local.apiserver.versions import from_storage
from linkerd.local.store import Change, Entry, Key, Obj, Store

QUEUE_MAX = 2_000
BOOKMARK_S = 30.0
#: How long a watch lives when the client names no timeout.
WATCH_S = 3_600.0

Encode = Callable[[Kind, Entry], bytes]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a kind a list or watch is about; `namespace` None means all."""

    kind: Kind
    namespace: str | None
    labels: Labels = field(default_factory=Labels)
    fields: Fields = field(default_factory=Fields)

    def matches(self, entry: Entry) -> bool:
        """Whether a version of an object is selected."""
        if self.namespace is not None and entry.key[0] != self.namespace:
            return False
        if not self.labels.matches(entry.labels):
            return False
        if not self.fields.terms:
            return True
        if self.fields.name is not None and self.fields.name != entry.key[1]:
            return False
        return self.fields.matches(from_storage(self.kind, entry.decode()))


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list: entries, the version it stands for, and how to go on ("" at the end)."""

    entries: list[Entry]
    version: int
    next: str
    remaining: int


def page(store: Store, selection: Selection, limit: int, token: str) -> Page:
    """Returns one page of a list; `limit` 0 means all.

    Raises:
        ApiError: 400 for a broken token, 410 for one that is too old.
    """
    version = store.version
    after: Key | None = None
    if token:
        version, after = _read_token(token)
        if not store.reaches(version):
            raise gone(
                "The provided continue parameter is too old to display a consistent list result."
            )
    found = [
        entry
        for entry in store.list(selection.kind.storage, selection.namespace)
        if (after is None or entry.key > after) and selection.matches(entry)
    ]
    if not limit or len(found) <= limit:
        return Page(found, version, "", 0)
    entries = found[:limit]
    return Page(entries, version, _token(version, entries[-1].key), len(found) - limit)


def _token(version: int, key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *key]).encode()).decode()


def _read_token(token: str) -> tuple[int, Key]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(version), (str(namespace), str(name))
    except (ValueError, TypeError):
        raise bad_request("continue key is not valid") from None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch."""

    type: str
    entry: Entry


class Watch:
    """The changes of a selection from one version on."""

    def __init__(self, store: Store, selection: Selection) -> None:
        self._store = store
        self._selection = selection
        self._queue: collections.deque[Event] = collections.deque()
        self._wake = asyncio.Event()
        self._overflowed = False
        self._version = store.version
        self._stop = store.listen(selection.kind.storage, self._offer)

    def close(self) -> None:
        """Hears no more changes."""
        self._stop()

    def start(self, version: int | None) -> None:
        """Queues what happened after `version`, or all current objects when it is None.

        Must be called at once after the constructor, without an await in between.

        Raises:
            Expired: the version is too old.
        """
        if version is None:
            for entry in self._store.list(self._selection.kind.storage, self._selection.namespace):
                if self._selection.matches(entry):
                    self._queue.append(Event("ADDED", entry))
            return
        chosen = self._selection
        picky = bool(chosen.labels.terms or chosen.fields.terms)
        changes = self._store.since(chosen.kind.storage, version, chosen.namespace, before=picky)
        for change in changes:
            self._take(change)

    def _offer(self, change: Change) -> None:
        if len(self._queue) >= QUEUE_MAX:
            self._overflowed = True
        else:
            self._take(change)
        self._wake.set()

    def _take(self, change: Change) -> None:
        event = select(self._selection, change)
        if event is not None:
            self._queue.append(event)

    async def next(self, timeout_s: float) -> list[Event] | None:
        """Returns the next events, [] after `timeout_s` without any, None when it fell behind."""
        if not self._queue and not self._overflowed:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
        events = list(self._queue)
        self._queue.clear()
        if events:
            return events
        return None if self._overflowed else []

    @property
    def version(self) -> int:
        """A version up to which the client has seen everything, once the queue is empty."""
        return self._store.version


def select(selection: Selection, change: Change) -> Event | None:
    """Returns what a change means to a selection: entering is ADDED, leaving is DELETED."""
    if selection.namespace is not None and change.entry.key[0] != selection.namespace:
        return None
    now = change.type != "DELETED" and selection.matches(change.entry)
    if change.type == "ADDED":
        return Event("ADDED", change.entry) if now else None
    before = change.before
    if before is None:
        was = change.type == "DELETED" and selection.matches(change.entry)
    else:
        was = selection.matches(before)
    if now:
        return Event("MODIFIED" if was or before is None else "ADDED", change.entry)
    return Event("DELETED", change.entry) if was else None


def check_version(store: Store, version: int) -> None:
    """Refuses a watch from a version that is no longer, or not yet, known.

    Raises:
        ApiError: 410.
    """
    if not store.reaches(version):
        raise gone(f"too old resource version: {version} ({store.version})")


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How a client wants its watch."""

    version: int | None
    timeout_s: float = WATCH_S
    bookmarks: bool = False
    initial_events: bool = False


async def stream(
    store: Store, selection: Selection, options: WatchOptions, encode: Encode
) -> AsyncIterator[bytes]:
    """Yields the lines of a watch until its time is over; ends early when it falls behind.

    Args:
        store: Where changes come from.
        selection: What is watched.
        options: As the client asked.
        encode: Version of an object → JSON of the event's object.
    """
    watch = Watch(store, selection)
    try:
        watch.start(None if options.initial_events else options.version)
        deadline = time.monotonic() + options.timeout_s
        if options.initial_events:
            lines = [line(event, selection.kind, encode) for event in await watch.next(0) or ()]
            lines.append(bookmark(selection.kind, watch.version, initial_end=True))
            yield b"".join(lines)
        while (left := deadline - time.monotonic()) > 0:
            events = await watch.next(min(left, BOOKMARK_S))
            if events is None:
                return
            if events:
                yield b"".join([line(event, selection.kind, encode) for event in events])
            elif options.bookmarks:
                yield bookmark(selection.kind, watch.version)
    finally:
        watch.close()


def line(event: Event, kind: Kind, encode: Encode) -> bytes:
    """Returns an event as one line of JSON."""
    return b'{"type":"%b","object":%b}\n' % (event.type.encode(), encode(kind, event.entry))


def bookmark(kind: Kind, version: int, *, initial_end: bool = False) -> bytes:
    """Returns a BOOKMARK line: everything up to `version` was sent."""
    metadata: Obj = {"resourceVersion": str(version), "creationTimestamp": None}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    obj = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
    return msgspec.json.encode({"type": "BOOKMARK", "object": obj}) + b"\n"
