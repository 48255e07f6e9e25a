"""Boards: topics, sharing, and a view that fails."""

from __future__ import annotations

import asyncio
from typing import Any

from linkerd.serve.board import Board


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
    streams = {key: world.board.stream(key) for key in "abc"}
    for stream in streams.values():
        await anext(stream)
    world.made.clear()
    world.board.changed(["y"])
    await settled()
    assert ["a", "b"] == sorted(world.made)


async def test_topics_follow_the_snapshot() -> None:
    world = World()
    world.topics = {"a": ["x"]}
    stream = world.board.stream("a")
    await anext(stream)
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


async def test_an_unchanged_value_is_not_sent_again() -> None:
    world = World()
    stream = world.board.stream("a")
    assert b"0" == await anext(stream)
    world.board.changed(["a"])
    await settled()
    world.values["a"] = 1
    world.board.changed(["a"])
    assert b"1" == await anext(stream)


async def test_a_view_that_fails_does_not_hold_up_the_others() -> None:
    world = World()
    loop = asyncio.get_running_loop()
    reported: list[Any] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    keys = ["bad", *"abcdef"]
    streams = {key: world.board.stream(key) for key in keys}
    for stream in streams.values():
        await anext(stream)
    world.values = dict.fromkeys(keys, 1) | {"bad": ValueError("poisoned")}
    world.board.changed(keys)
    async with asyncio.timeout(5):
        for key in "abcdef":
            assert b"1" == await anext(streams[key])
    await settled()
    assert ["poisoned"] == [str(error) for error in reported]


async def test_closing_ends_every_stream() -> None:
    world = World()
    stream = world.board.stream("a")
    await anext(stream)
    world.board.close()
    assert [] == [message async for message in stream]
    assert (0, 0) == (world.board.views, world.board.readers)


async def test_a_quiet_stream_is_told_something() -> None:
    """Proxies give up on a stream that is silent for five minutes, and subscribe anew."""
    state = {"a": 1}
    board: Board[str, int] = Board(
        lambda key: (state[key], [key]),
        lambda seen, now: [f"{seen}>{now}".encode()],
        heartbeat=lambda now: [f"still {now}".encode()],
        heartbeat_s=0.02,
    )
    reader, late = board.stream("a"), board.stream("a")
    assert b"None>1" == await anext(reader)
    assert b"None>1" == await anext(late)
    assert [b"still 1"] * 2 == [await anext(reader) for _ in range(2)]
    state["a"] = 2
    board.changed(["a"])
    seen = [await anext(reader)]
    while seen[-1].startswith(b"still 1"):
        seen.append(await anext(reader))
    assert b"1>2" == seen[-1]
    for stream in (reader, late):
        await stream.aclose()
    assert 0 == board.views
