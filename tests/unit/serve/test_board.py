"""Boards: topics, sharing, and a view that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

from linkerd.serve.board import Board, Subscription


class Call:
    """A reader that takes what it gets at once."""

    def __init__(self, board: Board[Any, Any], key: Hashable) -> None:
        self.messages: list[bytes] = []
        self.woken = asyncio.Event()
        self.feed: Subscription[Any, Any] = board.subscribe(key, self)
        self.wake()

    def wake(self) -> None:
        self.messages += self.feed.pull()
        self.woken.set()

    async def message(self) -> bytes:
        """The next message."""
        async with asyncio.timeout(60):
            while not self.messages:
                self.woken.clear()
                await self.woken.wait()
        return self.messages.pop(0)


class World:
    """Snapshots by key; "bad" fails once it is poisoned."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.topics: dict[str, list[str]] = {}
        self.made: list[str] = []
        self.board: Board[str, Any] = Board(self._snapshot, lambda _, now: [str(now).encode()])

    def _snapshot(self, key: str) -> tuple[Any, list[str]]:
        self.made.append(key)
        value = self.values.get(key, 0)
        if isinstance(value, Exception):
            raise value
        return value, self.topics.get(key, [key])


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0.02)


async def test_only_views_of_changed_topics_are_made_anew() -> None:
    world = World()
    world.topics = {"a": ["x", "y"], "b": ["y"], "c": ["z"]}
    calls = [Call(world.board, key) for key in "abc"]
    assert [[b"0"]] * 3 == [call.messages for call in calls]
    world.made.clear()
    world.board.changed(["y"])
    await settled()
    assert ["a", "b"] == sorted(world.made)


async def test_topics_follow_the_snapshot() -> None:
    world = World()
    world.topics = {"a": ["x"]}
    call = Call(world.board, "a")
    world.topics = {"a": ["y"]}
    world.board.changed(["x"])
    await settled()
    world.made.clear()
    world.board.changed(["x"])
    await settled()
    assert [] == world.made
    world.board.changed(["y"])
    await settled()
    assert ["a"] == world.made
    assert [b"0"] == call.messages


async def test_an_unchanged_value_is_not_sent_again() -> None:
    world = World()
    call = Call(world.board, "a")
    assert b"0" == await call.message()
    world.board.changed(["a"])
    await settled()
    world.values["a"] = 1
    world.board.changed(["a"])
    assert b"1" == await call.message()


async def test_a_view_that_fails_does_not_hold_up_the_others() -> None:
    world = World()
    loop = asyncio.get_running_loop()
    reported: list[Any] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    keys = ["bad", *"abcdef"]
    calls = {key: Call(world.board, key) for key in keys}
    for call in calls.values():
        await call.message()
    world.values = dict.fromkeys(keys, 1) | {"bad": ValueError("poisoned")}
    world.board.changed(keys)
    async with asyncio.timeout(60):
        for key in "abcdef":
            assert b"1" == await calls[key].message()
    await settled()
    assert ["poisoned"] == [str(error) for error in reported]


async def test_closing_ends_every_stream() -> None:
    world = World()
    call = Call(world.board, "a")
    assert (1, 1) == (world.board.views, world.board.readers)
    world.board.close()
    assert ([b"0"], True) == (call.messages, call.feed.ended)
    for _ in range(2):
        call.feed.close()
    assert (0, 0) == (world.board.views, world.board.readers)


async def test_a_reader_that_does_not_look_gets_the_difference() -> None:
    """A slow reader holds no queue: what happened in between is never sent."""
    state = {"a": 1}
    board: Board[str, int] = Board(
        lambda key: (state[key], [key]), lambda seen, now: [f"{seen}>{now}".encode()]
    )

    class Asleep:
        def wake(self) -> None:
            pass

    feed = board.subscribe("a", Asleep())
    assert [b"None>1"] == list(feed.pull())
    for value in range(2, 6):
        state["a"] = value
        board.changed(["a"])
        await settled()
    assert [b"1>5"] == list(feed.pull())
    assert [] == list(feed.pull())


async def test_a_quiet_stream_is_told_something() -> None:
    """Proxies give up on a stream that is silent for five minutes, and subscribe anew."""
    state = {"a": 1}
    board: Board[str, int] = Board(
        lambda key: (state[key], [key]),
        lambda seen, now: [f"{seen}>{now}".encode()],
        heartbeat=lambda now: [f"still {now}".encode()],
        heartbeat_s=0.02,
    )
    call = Call(board, "a")
    assert b"None>1" == await call.message()
    assert [b"still 1"] * 2 == [await call.message() for _ in range(2)]
    state["a"] = 2
    board.changed(["a"])
    seen = [await call.message()]
    while seen[-1].startswith(b"still 1"):
        seen.append(await call.message())
    assert b"1>2" == seen[-1]
    call.feed.close()
    assert 0 == board.views
