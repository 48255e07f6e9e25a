"""Our HTTP/2 on the wire: windows, slow readers, draining, and peers that break the rules.

A stock gRPC client shows that the whole works; raw frames show what no proper client sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
import pytest

from linkerd import metrics
from linkerd.errors import NotFound
from linkerd.gen import destination_pb2 as pb
from linkerd.gen import destination_pb2_grpc
from linkerd.serve import hpack, http2, rpc
from linkerd.serve.readiness import Readiness

PATH = "/io.linkerd.proxy.destination.Destination/Get"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
)
END_STREAM, END_HEADERS = 1, 4


class Script:
    """A feed whose messages a test puts in."""

    def __init__(self, reader: rpc.Reader, messages: Sequence[bytes]) -> None:
        self.reader, self.messages = reader, list(messages)
        self.ended = self.closed = False
        self.pulls = 0

    def pull(self) -> Sequence[bytes]:
        self.pulls += 1
        messages, self.messages = self.messages, []
        return messages

    def close(self) -> None:
        self.closed = True

    def add(self, message: bytes) -> None:
        self.messages.append(message)
        self.reader.wake()


class Server:
    """Every call gets a script; its first messages are the path's, "x" times the number in it."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.port = 0

    def handle(self, request: pb.GetDestination, reader: rpc.Reader) -> rpc.Feed:
        if request.path == "absent":
            raise NotFound("no such thing: ü%")
        script = Script(reader, [b"x" * int(request.path)] if request.path else [])
        self.scripts.append(script)
        return script


@contextlib.asynccontextmanager
async def serving(gate: Readiness | None = None, grace_s: float = 0.1) -> AsyncIterator[Server]:
    server = Server()

    async def stay(request: pb.GetDestination) -> bytes:
        if request.path:
            await asyncio.Event().wait()
        return b"done"

    service = rpc.service(
        "io.linkerd.proxy.destination.Destination",
        {
            "Get": rpc.streaming(pb.GetDestination, server.handle),
            "Stay": rpc.unary(pb.GetDestination, stay),
        },
    )
    registry = metrics.registry()
    async with rpc.serve(
        "127.0.0.1", 0, service, registry=registry, gate=gate, grace_s=grace_s
    ) as server.port:
        yield server


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def request(stream: int, path: str = "", method: str = PATH) -> bytes:
    """The frames of one call."""
    block = b"\x83\x86" + b"".join(
        hpack.literal(name, value)
        for name, value in (
            (b":path", method.encode()),
            (b":authority", b"x"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    )
    message = pb.GetDestination(path=path).SerializeToString()
    body = b"\0" + struct.pack(">I", len(message)) + message
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)


class Peer:
    """A client of raw frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, int, int, bytes]:
        """The next frame: kind, flags, stream, payload."""
        async with asyncio.timeout(60):
            head = await self.reader.readexactly(9)
            size = int.from_bytes(head[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            return kind, flags, stream, await self.reader.readexactly(size)

    async def until(self, kind: int) -> tuple[int, int, bytes]:
        """The next frame of a kind: flags, stream, payload."""
        while True:
            found, flags, stream, payload = await self.frame()
            if found == kind:
                return flags, stream, payload

    async def data(self, size: int) -> bytearray:
        """That many bytes of DATA, of any stream."""
        got = bytearray()
        while len(got) < size:
            got += (await self.until(DATA))[2]
        assert size == len(got)
        return got

    async def echo(self) -> None:
        """Returns when the server has taken all that was sent so far."""
        self.send(frame(PING, 0, 0, b"12345678"))
        while True:
            flags, _, payload = await self.until(PING)
            if (flags, payload) == (1, b"12345678"):
                return


@contextlib.asynccontextmanager
async def connected(server: Server, *, settings: bytes = b"") -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    peer = Peer(reader, writer)
    peer.send(PREFACE, frame(SETTINGS, 0, 0, settings))
    try:
        yield peer
    finally:
        writer.transport.abort()


def window(size: int) -> bytes:
    """The setting of the streams' first windows."""
    return struct.pack(">HI", 4, size)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  (the condition is the server's)
            await asyncio.sleep(0.005)


async def test_a_stock_client_gets_large_messages_and_the_ends_of_calls() -> None:
    async with (
        serving() as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        get: Any = channel.unary_stream(PATH, pb.GetDestination.SerializeToString, bytes)
        calls = [get(pb.GetDestination(path="400000")) for _ in range(20)]
        for call in calls:
            assert 400_000 == len(await call.read())
        for script in server.scripts:
            script.add(b"more")
            script.ended = True
            script.reader.wake()
        for call in calls:
            assert [b"more", grpc.aio.EOF] == [await call.read() for _ in range(2)]
            assert grpc.StatusCode.OK == await call.code()
        assert all(script.closed for script in server.scripts)
        stub = destination_pb2_grpc.DestinationStub(channel)
        for path, code, text in (
            ("absent", grpc.StatusCode.NOT_FOUND, "no such thing: ü%"),
            ("bug", grpc.StatusCode.INTERNAL, "internal error"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.Get(pb.GetDestination(path=path)).read()
            assert (code, text) == (error.value.code(), error.value.details())
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetProfile(pb.GetDestination()).read()
        assert grpc.StatusCode.UNIMPLEMENTED is error.value.code()


async def test_a_client_that_leaves_ends_its_calls() -> None:
    async with serving() as server, connected(server) as peer:
        peer.send(request(1), request(3))
        await until(lambda: len(server.scripts) == 2)
        peer.send(frame(RST_STREAM, 0, 1, struct.pack(">I", 8)))
        await until(lambda: [True, False] == [script.closed for script in server.scripts])
        peer.writer.close()
        await until(lambda: all(script.closed for script in server.scripts))


async def test_a_message_waits_for_the_windows_of_its_stream() -> None:
    async with serving() as server, connected(server, settings=window(10)) as peer:
        peer.send(request(1, "100"))
        first = await peer.data(10)
        await peer.echo()
        script = server.scripts[0]
        pulls = script.pulls
        script.messages.append(b"late")
        script.reader.wake()
        assert pulls == script.pulls, "a reader without room is not asked for more"
        peer.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 50)))
        second = await peer.data(50)
        peer.send(frame(SETTINGS, 0, 0, window(10_000)))
        rest = await peer.data(105 - 60 + 9)
        assert b"\0\0\0\0d" + b"x" * 100 + b"\0\0\0\0\4late" == first + second + rest


async def test_streams_share_the_window_of_their_connection() -> None:
    async with serving() as server, connected(server, settings=window(1 << 20)) as peer:
        peer.send(*(request(stream, "40000") for stream in (1, 3)))
        await peer.data(65_535)
        await peer.echo()
        peer.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20)))
        await peer.data(2 * 40_005 - 65_535)


async def test_one_stuck_reader_holds_up_nobody() -> None:
    """R09: what a reader does not take is not gathered for it, and others do not notice."""
    async with serving() as server, connected(server) as stuck, connected(server) as quick:
        stuck.send(request(1, "1000000"))
        stuck.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
        stuck.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 30)))
        await until(lambda: len(server.scripts) == 1)
        quick.send(request(1))
        await until(lambda: len(server.scripts) == 2)
        for _ in range(200):
            server.scripts[0].add(b"y" * 100_000)
            server.scripts[1].add(b"z")
            assert b"\0\0\0\0\1z" == (await quick.until(DATA))[2]
        assert server.scripts[0].pulls < 100
        assert len(server.scripts[0].messages) > 100
        await stuck.data(1_000_005 + 200 * 100_005)


async def test_calls_wait_for_the_gate() -> None:
    gate = Readiness("caches")
    async with serving(gate) as server, connected(server) as peer:
        peer.send(request(1, "1"), request(3, "1"))
        peer.send(frame(RST_STREAM, 0, 3, struct.pack(">I", 8)))
        await peer.echo()
        assert [] == server.scripts
        gate.done("caches")
        assert b"\0\0\0\0\1x" == (await peer.until(DATA))[2]
        assert 1 == len(server.scripts)


async def test_leaving_lets_calls_end() -> None:
    async with contextlib.AsyncExitStack() as after:
        async with serving(grace_s=20) as server:
            peer = await after.enter_async_context(connected(server))
            peer.send(request(1, "1"))
            await peer.until(DATA)
            script = server.scripts[0]
            script.messages.append(b"last")
            script.ended = True
            asyncio.get_running_loop().call_later(0.2, script.reader.wake)
        await peer.until(GOAWAY)
        assert b"\0\0\0\0\4last" == (await peer.until(DATA))[2]
        flags, stream, _ = await peer.until(HEADERS)
        assert (END_STREAM | END_HEADERS, 1) == (flags, stream)
        assert b"" == await peer.reader.read()


async def test_leaving_breaks_off_what_does_not_end() -> None:
    stay = "/io.linkerd.proxy.destination.Destination/Stay"
    async with contextlib.AsyncExitStack() as after:
        async with serving() as server:
            peer = await after.enter_async_context(connected(server))
            peer.send(request(1, "1"), request(3, "1", stay), request(5, "", stay))
            assert {1, 5} == {(await peer.until(DATA))[1] for _ in range(2)}
        assert server.scripts[0].closed
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            while True:
                await peer.frame()


@pytest.fixture
def few_control_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Floods are counted by the second: on a busy machine the real limit may not be reached."""
    monkeypatch.setattr(http2, "_CONTROL_PER_S", 200)


BLOCK = b"\x83\x86" + hpack.literal(b":path", PATH.encode())


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n" + b" " * 20, 1),
        (PREFACE + b"\x00\x40\x01" + bytes(6) + bytes(16385), 6),
        (PREFACE + frame(DATA, 0, 1, b"x"), 1),
        (PREFACE + frame(HEADERS, END_HEADERS, 2, BLOCK), 1),
        (PREFACE + frame(HEADERS, 0, 1, BLOCK) + frame(DATA, 0, 1), 1),
        (PREFACE + frame(HEADERS, 0, 1, BLOCK) + frame(CONTINUATION, 0, 3, BLOCK), 1),
        (PREFACE + frame(CONTINUATION, END_HEADERS, 1, BLOCK), 1),
        (PREFACE + frame(HEADERS, END_HEADERS | 8, 1, b"\x20" + BLOCK[:10]), 1),
        (PREFACE + frame(HEADERS, END_HEADERS, 1, b"\x80"), 9),
        (PREFACE + frame(5, 0, 1, bytes(4)), 1),
        (PREFACE + frame(RST_STREAM, 0, 1, bytes(4)), 1),
        (PREFACE + frame(RST_STREAM, 0, 0, bytes(3)), 6),
        (PREFACE + frame(PING, 0, 0, bytes(7)), 6),
        (PREFACE + frame(SETTINGS, 0, 0, bytes(5)), 6),
        (PREFACE + frame(SETTINGS, 0, 0, window(1 << 31)), 3),
        (PREFACE + frame(WINDOW_UPDATE, 0, 0, bytes(4)), 3),
        (PREFACE + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF)), 3),
        (PREFACE + frame(WINDOW_UPDATE, 0, 9, struct.pack(">I", 1)), 1),
        (PREFACE + frame(HEADERS, 0, 1, BLOCK) + frame(CONTINUATION, 0, 1, bytes(9000)) * 5, 11),
        (PREFACE + frame(HEADERS, 0, 1, BLOCK) + frame(CONTINUATION, 0, 1), 11),
        (PREFACE + frame(PING, 0, 0, bytes(8)) * 6000, 11),
        (PREFACE + frame(SETTINGS, 0, 0) * 6000, 11),
    ],
)
async def test_a_peer_that_breaks_the_rules_is_told_and_left(
    sent: bytes, code: int, few_control_frames: None
) -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        peer = Peer(reader, writer)
        peer.send(sent)
        _, _, payload = await peer.until(GOAWAY)
        assert code == struct.unpack(">I", payload[4:8])[0]
        writer.close()
        async with connected(server) as other:
            other.send(request(1, "1"))
            await other.until(DATA)


async def test_opening_and_resetting_at_once_is_not_free(few_control_frames: None) -> None:
    """Source: CVE-2023-44487."""
    async with serving() as server, connected(server) as peer:
        for stream in range(1, 20_001, 2):
            peer.send(request(stream), frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
        _, _, payload = await peer.until(GOAWAY)
        assert 11 == struct.unpack(">I", payload[4:8])[0]
        await until(lambda: all(script.closed for script in server.scripts))


async def test_giving_up_many_streams_at_once_is_fine() -> None:
    async with serving() as server, connected(server) as peer:
        streams = range(1, 16_001, 2)
        peer.send(*(request(stream) for stream in streams))
        await until(lambda: len(server.scripts) == len(streams))
        # Floods are counted by the second: let that of the requests pass.
        await asyncio.sleep(1.1)
        peer.send(*(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)) for stream in streams))
        await peer.echo()
        assert all(script.closed for script in server.scripts)


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0\5abc", b"\1\0\0\0\0", b"\0\0\0\0\2\xff\xff"])
async def test_a_request_that_is_no_message_is_refused(body: bytes) -> None:
    async with serving() as server, connected(server) as peer:
        head = request(1)
        head = head[: head.index(struct.pack(">BBI", DATA, END_STREAM, 1)) - 3]
        peer.send(head, frame(DATA, END_STREAM, 1, body))
        _, _, block = await peer.until(HEADERS)
        assert (b"grpc-status", b"3") in hpack.Decoder().decode(block)


async def test_a_request_that_is_too_long_is_broken_off() -> None:
    async with serving() as server, connected(server) as peer:
        head = request(1)
        head = head[: head.index(struct.pack(">BBI", DATA, END_STREAM, 1)) - 3]
        peer.send(head, *(frame(DATA, 0, 1, bytes(16_000)) for _ in range(5)))
        await peer.until(RST_STREAM)


async def test_frames_may_come_in_any_pieces() -> None:
    async with serving() as server, connected(server) as peer:
        for byte in request(1, "1"):
            peer.send(bytes((byte,)))
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert b"\0\0\0\0\1x" == (await peer.until(DATA))[2]
