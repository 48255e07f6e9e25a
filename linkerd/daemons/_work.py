"""Objects to look at, one at a time: what a controller does when something changed.

    work = Work(step, leads=…, everything=…); work.note(key); await work.run()

What is pending is a set, so it is bounded by the number of objects and a burst of changes of one
object is one step. A step that fails is taken again after a while; everything is looked at again
from time to time. Nothing is noted while this process does not lead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_PAUSE_S = 0.005
_RETRY_S = 1.0


class Work(Generic[K]):
    """The pending objects and the loop over them.

    Args:
        step: Looks at one object; returns whether that succeeded.
        leads: Whether this process may act now.
        everything: All objects there are.
        every_s: How often everything is looked at.
        attempts: After so many failures in a row an object waits for the next look at everything.
        added: Told when an object becomes pending.
        taken: Told when one is taken up, with whether this process still leads.
    """

    def __init__(
        self,
        step: Callable[[K], Awaitable[bool]],
        *,
        leads: Callable[[], bool],
        everything: Callable[[], Iterable[K]],
        every_s: float,
        attempts: int = 15,
        added: Callable[[], None] = lambda: None,
        taken: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._step, self._leads, self._everything = step, leads, everything
        self._every_s, self._attempts = every_s, attempts
        self._added, self._taken = added, taken
        self._pending: dict[K, None] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pending)

    def note(self, keys: Iterable[K]) -> None:
        """Has objects looked at soon, if this process leads."""
        if not self._leads():
            return
        for key in keys:
            if key not in self._pending:
                self._pending[key] = None
                self._added()
        if self._pending:
            self._wake.set()

    def note_all(self) -> None:
        """Has everything looked at soon, if this process leads."""
        self._failures.clear()
        self.note(self._everything())

    async def run(self) -> None:
        """Works, for ever."""
        while True:
            try:
                async with asyncio.timeout(self._every_s):
                    await self._wake.wait()
            except TimeoutError:
                self.note_all()
            await asyncio.sleep(_PAUSE_S)  # what comes together is looked at once
            self._wake.clear()
            failed = await self._drain()
            if failed:
                await asyncio.sleep(_RETRY_S)
                self.note(failed)

    async def _drain(self) -> list[K]:
        failed: list[K] = []
        while self._pending:
            key = next(iter(self._pending))
            del self._pending[key]
            leads = self._leads()
            self._taken(leads)
            if not leads:
                continue
            if await self._step(key):
                self._failures.pop(key, None)
                continue
            count = self._failures[key] = self._failures.get(key, 0) + 1
            if count < self._attempts:
                failed.append(key)
        return failed
