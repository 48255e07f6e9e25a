"""Readiness as a set of named tasks that must complete, each once.

    ready = Readiness("caches", "listener")
    ready.done("caches")

Source: istio/ztunnel src/readiness.rs (the idea).
"""

from __future__ import annotations

import asyncio


class Readiness:
    """Becomes ready when every named task is done; never unready again."""

    def __init__(self, *tasks: str) -> None:
        self._pending = dict.fromkeys(tasks)
        self._event = asyncio.Event()
        if not tasks:
            self._event.set()

    @property
    def ready(self) -> bool:
        """Whether nothing is pending."""
        return not self._pending

    @property
    def pending(self) -> tuple[str, ...]:
        """The names of the tasks that are not done, in order of declaration."""
        return tuple(self._pending)

    def done(self, task: str) -> None:
        """Marks a task as done; doing so twice is harmless."""
        self._pending.pop(task, None)
        if not self._pending:
            self._event.set()

    async def wait(self) -> None:
        """Returns once ready."""
        await self._event.wait()
