"""The loop over pending objects: coalescing, retries, leadership."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from linkerd.daemons._work import Work


class Rig:
    """Work whose steps are recorded; names in `failing` fail."""

    def __init__(self, attempts: int = 15) -> None:
        self.leads = True
        self.failing: set[str] = set()
        self.seen: list[str] = []
        self.everything: list[str] = []
        self.work: Work[str] = Work(
            self._step,
            leads=lambda: self.leads,
            everything=lambda: self.everything,
            every_s=60.0,
            attempts=attempts,
        )

    async def _step(self, key: str) -> bool:
        self.seen.append(key)
        return key not in self.failing

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.work.run())
            yield
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def test_a_burst_is_one_step() -> None:
    rig = Rig()
    for _ in range(5):
        rig.work.note(["a", "b"])
    assert 2 == len(rig.work)
    async with rig.running():
        await until(lambda: ["a", "b"] == rig.seen)
    assert 0 == len(rig.work)


async def test_nothing_is_noted_or_done_without_leading() -> None:
    rig = Rig()
    rig.work.note(["a"])
    rig.leads = False
    rig.work.note(["b"])
    async with rig.running():
        await until(lambda: not len(rig.work))
    assert [] == rig.seen


@pytest.mark.parametrize(("attempts", "tries"), [(15, 2), (1, 1)])
async def test_a_failed_step_is_taken_again(attempts: int, tries: int) -> None:
    rig = Rig(attempts)
    rig.failing.add("a")
    async with rig.running():
        rig.work.note(["a"])
        await until(lambda: bool(rig.seen))
        if tries > 1:
            await until(lambda: len(rig.seen) >= tries)
        rig.failing.clear()
        rig.everything = ["a", "b"]
        rig.work.note_all()
        await until(lambda: "b" in rig.seen)
