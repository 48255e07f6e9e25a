"""Views that many streams share: computed once, encoded once, sent to each reader as it can take it.

    index ── changed topics ──► Board ── snapshot(key) ──► View ── encode(seen, now) ──► readers
                                 coalesces for a moment      bytes shared by all readers

A subscription's only state is the snapshot that was pulled last, so a slow reader holds no queue: it
gets the difference between what it has and what is true now, and steps in between are never sent.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from linkerd.serve.rpc import Reader

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")

Topic = Hashable

COALESCE_S = 0.02
"""Changes that follow each other closer than this are sent together; the first one at once."""

HEARTBEAT_S = 240.0
"""A quiet stream is told something this often: proxies give up on one after five minutes, and
taking it up again costs a whole subscription."""

_ENCODED_MAX = 16
_JITTER = 0.1


class _View(Generic[K, S]):
    """One key's current snapshot; exists while it has readers."""

    __slots__ = ("beats", "encoded", "key", "pulse", "readers", "snapshot", "topics", "version")

    def __init__(self, key: K, snapshot: S, topics: frozenset[Topic]) -> None:
        self.key = key
        self.snapshot = snapshot
        self.topics = topics
        self.version = 1
        self.beats = 0
        self.readers: dict[Subscription[K, S], None] = {}
        self.encoded: dict[int, Sequence[bytes]] = {}
        self.pulse: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Has the readers look again."""
        for each in tuple(self.readers):
            each.reader.wake()


class Subscription(Generic[K, S]):
    """One reader of one key: the `Feed` of a call."""

    __slots__ = ("_board", "beats", "ended", "reader", "seen", "version", "view")

    def __init__(self, board: Board[K, S], view: _View[K, S], reader: Reader) -> None:
        self._board = board
        self.view = view
        self.reader = reader
        self.seen: S | None = None
        self.version = 0
        self.beats = view.beats
        self.ended = False

    def pull(self) -> Sequence[bytes]:
        """Returns the messages that lead from what was pulled last to what is true now."""
        return self._board.pull(self)

    def close(self) -> None:
        """Gives up the key."""
        self._board.drop(self)


class Board(Generic[K, S]):
    """All views of one method.

    Args:
        snapshot: Key → (value now, topics it was made from). Values are immutable and comparable.
        encode: (what the reader saw, None at first; what is true now) → messages to send, in
            order. Must be pure: its result is shared.
        over: Value → whether a stream ends after it was sent.
        heartbeat: Value → messages that tell a reader that has seen it nothing new; by default
            those of a new reader.
        heartbeat_s: How often; 0 for never.
    """

    def __init__(
        self,
        snapshot: Callable[[K], tuple[S, Iterable[Topic]]],
        encode: Callable[[S | None, S], Sequence[bytes]],
        *,
        over: Callable[[S], bool] = lambda _: False,
        heartbeat: Callable[[S], Sequence[bytes]] | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._snapshot = snapshot
        self._encode = encode
        self._over = over
        self._heartbeat = heartbeat or (lambda now: encode(None, now))
        self._heartbeat_s = heartbeat_s
        self._views: dict[K, _View[K, S]] = {}
        self._by_topic: dict[Topic, set[K]] = {}
        self._dirty: set[K] = set()
        self._flushed_s = 0.0
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._closed = False

    @property
    def views(self) -> int:
        """How many keys have readers."""
        return len(self._views)

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return sum(len(view.readers) for view in self._views.values())

    def stats(self) -> Iterator[tuple[K, S, int, int]]:
        """Yields each key with its value, how many read it, and how often it changed meanwhile."""
        for key, view in self._views.items():
            yield key, view.snapshot, len(view.readers), view.version - 1

    def changed(self, topics: Iterable[Topic]) -> None:
        """Notes that what `topics` stand for changed; streams hear of it within `COALESCE_S`."""
        for topic in topics:
            self._dirty |= self._by_topic.get(topic, set())
        if self._dirty and self._timer is None:
            loop = asyncio.get_running_loop()
            wait_s = self._flushed_s + COALESCE_S - loop.time()
            if wait_s > 0:
                self._timer = loop.call_later(wait_s, self._flush)
            else:
                self._timer = loop.call_soon(self._flush)

    def subscribe(self, key: K, reader: Reader) -> Subscription[K, S]:
        """Returns a reader's feed, which has its first messages at once; whoever gets it closes it."""
        view = self._open(key)
        subscription = Subscription(self, view, reader)
        view.readers[subscription] = None
        return subscription

    def pull(self, reader: Subscription[K, S]) -> Sequence[bytes]:
        """Returns what is new to a reader; `Subscription.pull` is this."""
        view = reader.view
        reader.ended = self._closed
        if reader.version == view.version:
            if reader.beats == view.beats:
                return ()
            reader.beats = view.beats
            return self._heartbeat(view.snapshot)
        messages = view.encoded.get(reader.version)
        if messages is None:
            messages = self._encode(reader.seen, view.snapshot)
            if len(view.encoded) < _ENCODED_MAX:
                view.encoded[reader.version] = messages
        reader.seen, reader.version, reader.beats = view.snapshot, view.version, view.beats
        reader.ended = self._closed or self._over(view.snapshot)
        return messages

    def drop(self, reader: Subscription[K, S]) -> None:
        """Forgets a reader, and its view after the last one; doing so twice is harmless."""
        view = reader.view
        view.readers.pop(reader, None)
        if not view.readers and self._views.get(view.key) is view:
            if view.pulse is not None:
                view.pulse.cancel()
            del self._views[view.key]
            self._dirty.discard(view.key)
            self._forget(view.key, view.topics)

    def current(self, key: K) -> Sequence[bytes]:
        """Returns what a new reader would get first."""
        view = self._views.get(key)
        value = self._snapshot(key)[0] if view is None else view.snapshot
        return self._encode(None, value)

    def close(self) -> None:
        """Ends all streams, so that their clients go elsewhere."""
        self._closed = True
        for view in list(self._views.values()):
            view.wake()

    def _open(self, key: K) -> _View[K, S]:
        view = self._views.get(key)
        if view is None:
            value, topics = self._snapshot(key)
            view = self._views[key] = _View(key, value, frozenset(topics))
            for topic in view.topics:
                self._by_topic.setdefault(topic, set()).add(key)
            self._beat(view)
        return view

    def _beat(self, view: _View[K, S]) -> None:
        """Has the readers of a view hear of it from time to time; all views at other times."""
        if self._heartbeat_s:
            after_s = self._heartbeat_s * random.uniform(1 - _JITTER, 1)
            view.pulse = asyncio.get_running_loop().call_later(after_s, self._pulse, view)

    def _pulse(self, view: _View[K, S]) -> None:
        view.beats += 1
        view.wake()
        self._beat(view)

    def _forget(self, key: K, topics: Iterable[Topic]) -> None:
        for topic in topics:
            keys = self._by_topic.get(topic)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._by_topic[topic]

    def _flush(self) -> None:
        self._timer = None
        self._flushed_s = asyncio.get_running_loop().time()
        try:
            while self._dirty:
                self._refresh(self._dirty.pop())
        finally:
            if self._dirty:  # a key failed, which the loop reports: the others must not wait for it
                self.changed(())

    def _refresh(self, key: K) -> None:
        view = self._views.get(key)
        if view is None:
            return
        value, topics = self._snapshot(key)
        self._retopic(key, view, frozenset(topics))
        if value != view.snapshot:
            view.snapshot = value
            view.version += 1
            view.encoded.clear()
            view.wake()

    def _retopic(self, key: K, view: _View[K, S], topics: frozenset[Topic]) -> None:
        if topics != view.topics:
            self._forget(key, view.topics - topics)
            for topic in topics - view.topics:
                self._by_topic.setdefault(topic, set()).add(key)
            view.topics = topics
