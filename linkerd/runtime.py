"""How a daemon lives: one event loop, one task group, a signal ends it.

    def main() -> int:
        return runtime.run(serve)          # async def serve(stop: asyncio.Event)

The one place that creates tasks and catches `Exception` around them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from linkerd import log
from linkerd.errors import LinkerdError

_log = log.logger(__name__)

Serve = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def run(serve: Serve) -> int:
    """Runs `serve(stop)` until it returns; SIGTERM and SIGINT set `stop`.

    Returns:
        0 when it returned, 1 when it raised; the error is logged.
    """

    async def _main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(stop)

    try:
        asyncio.run(_main())
    except LinkerdError as error:
        _log.error("daemon failed", error=error.message)
        return 1
    except Exception:
        _log.error("daemon failed", exc_info=True)
        return 1
    return 0


async def forever(
    name: str,
    step: Callable[[], Awaitable[None]],
    *,
    min_s: float = 0.1,
    max_s: float = 10.0,
) -> None:
    """Awaits `step` again and again; after an error it waits, doubling from `min_s` to `max_s`.

    An outage is logged when it begins and when it ends, not in between.
    """
    wait_s = min_s
    failing = False
    while True:
        try:
            await step()
        except Exception as error:
            if not failing:
                _log.warn("task failing, will retry", task=name, error=repr(error))
            failing = True
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, max_s)
        else:
            if failing:
                _log.info("task recovered", task=name)
            failing = False
            wait_s = min_s


def spawn(coroutine: Coroutine[Any, Any, Any], *, name: str, into: set[asyncio.Task[Any]]) -> None:
    """Starts a task that belongs to `into`, logs its failure and leaves the set when it ends.

    For work whose lifetime is an object's (a pod, a connection) and not a task group's; the owner
    cancels what is left in the set.
    """
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    into.add(task)
    task.add_done_callback(lambda done: _ended(done, into))


def _ended(task: asyncio.Task[Any], into: set[asyncio.Task[Any]]) -> None:
    into.discard(task)
    if not task.cancelled() and task.exception() is not None:
        _log.error("task died", task=task.get_name(), error=repr(task.exception()))
