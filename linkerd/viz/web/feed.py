"""Live views: one poll of metrics-api per view, however many browsers watch it.

    browser ─┐                       ┌─ Feed(view) ── poll every 2 s ──► metrics-api
    browser ─┴─► subscribe(view) ────┘   ends with its last browser

A subscriber holds no queue: it waits for a newer version than it has, so a slow one skips some.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec

from linkerd import runtime
from linkerd.errors import LinkerdError, Unavailable
from linkerd.viz.web.views import View

POLL_S = 2.0
"""Seconds between polls of one view."""

HEARTBEAT_S = 15.0
SUBSCRIBERS_MAX = 256
FEEDS_MAX = 64

Poll = Callable[[View], Awaitable[dict[str, Any]]]
"""Asks for a view's content; raises LinkerdError."""


def event(name: str, content: object) -> bytes:
    """Returns a server-sent event: `rows` and the content, or `trouble` and the error."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(content))


class _Feed:
    def __init__(self) -> None:
        self.version = 0
        self.latest: bytes | None = None
        self.subscribers = 0
        self.changed = asyncio.Condition()
        self.tasks: set[asyncio.Task[Any]] = set()


class Feeds:
    """The live views of this process.

    Args:
        poll: Where content comes from.
        interval_s: Seconds between polls of one view.
    """

    def __init__(self, poll: Poll, *, interval_s: float = POLL_S) -> None:
        self._poll = poll
        self._interval_s = interval_s
        self._feeds: dict[View, _Feed] = {}
        self._subscribers = 0

    async def subscribe(self, view: View) -> AsyncGenerator[bytes | None, None]:
        """Yields the current content as an event at once, then whatever is newer, until closed.

        The event is encoded once for all browsers.

        None after 15 s of silence, so that the connection can be kept alive.

        Raises:
            Unavailable: too many browsers or too many different views.
        """
        if self._subscribers >= SUBSCRIBERS_MAX:
            raise Unavailable(f"more than {SUBSCRIBERS_MAX} live pages are open")
        feed = self._feeds.get(view)
        if feed is None:
            if len(self._feeds) >= FEEDS_MAX:
                raise Unavailable(f"more than {FEEDS_MAX} different live pages are open")
            feed = self._feeds[view] = _Feed()
            runtime.spawn(self._run(view, feed), name=f"feed {view.kind}", into=feed.tasks)
        feed.subscribers += 1
        self._subscribers += 1
        try:
            seen = 0
            while True:
                newer = await self._newer(feed, seen)
                seen = feed.version if newer else seen
                yield feed.latest if newer else None
        finally:
            self._subscribers -= 1
            feed.subscribers -= 1
            if feed.subscribers == 0:
                self._feeds.pop(view, None)
                for task in feed.tasks:
                    task.cancel()

    async def close(self) -> None:
        """Stops all polling."""
        tasks = [task for feed in self._feeds.values() for task in feed.tasks]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _newer(self, feed: _Feed, seen: int) -> bool:
        """Waits for a newer version than `seen`; False when there is none for a while."""
        try:
            async with asyncio.timeout(HEARTBEAT_S), feed.changed:
                await feed.changed.wait_for(lambda: feed.version > seen)
        except TimeoutError:
            return False
        return True

    async def _run(self, view: View, feed: _Feed) -> None:
        while True:
            try:
                update = event("rows", await self._poll(view))
            except LinkerdError as error:
                update = event("trouble", {"error": error.message})
            async with feed.changed:
                feed.latest = update
                feed.version += 1
                feed.changed.notify_all()
            await asyncio.sleep(self._interval_s)
