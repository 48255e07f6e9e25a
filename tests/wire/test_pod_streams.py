"""exec and port-forward against a scripted API server: WebSocket, channels, SPDY inside."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection

from linkerd.errors import Invalid, Unavailable
from linkerd.kube import spdy
from linkerd.kube.client import KubeClient
from linkerd.kube.config import KubeConfig
from linkerd.kube.streams import PortForward, execute, port_forward

Send = Callable[[bytes], Awaitable[None]]
Peer = Callable[[AsyncIterator[bytes], Send], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(peer: Peer, *, protocol: str = "") -> AsyncIterator[KubeClient]:
    """A server that upgrades every request and lets `peer` talk."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {
            line.split(": ", 1)[0].lower(): line.split(": ", 1)[1]
            for line in head.split("\r\n")[1:]
            if ": " in line
        }
        guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        digest = hashlib.sha1(headers["sec-websocket-key"].encode() + guid).digest()
        chosen = protocol or headers["sec-websocket-protocol"]
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n"
            % (base64.b64encode(digest), chosen.encode())
        )
        frames = Connection(ConnectionType.SERVER)

        async def send(message: bytes) -> None:
            writer.write(frames.send(BytesMessage(message)))
            await writer.drain()

        async def messages() -> AsyncIterator[bytes]:
            held = b""
            while data := await reader.read(65536):
                frames.receive_data(data)
                for event in frames.events():
                    if isinstance(event, BytesMessage):
                        held += bytes(event.data)
                        if event.message_finished:
                            yield held
                            held = b""
                    elif isinstance(event, CloseConnection):
                        return

        with contextlib.suppress(OSError):
            await peer(messages(), send)
            writer.write(frames.send(CloseConnection(code=1000)))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with KubeClient(KubeConfig(server=f"http://127.0.0.1:{port}")) as kube:
        yield kube
    server.close()


def status(code: int) -> bytes:
    if code == 0:
        return b"\x03" + json.dumps({"status": "Success"}).encode()
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return b"\x03" + json.dumps({"status": "Failure", "details": {"causes": causes}}).encode()


@pytest.mark.parametrize("code", [0, 3])
async def test_exec_gathers_output_and_exit_code(code: int) -> None:
    async def peer(messages: AsyncIterator[bytes], send: Send) -> None:
        await send(b"\x01out")
        await send(b"\x02err")
        await send(b"\x01put")
        await send(status(code))

    async with serving(peer) as kube:
        result = await execute(kube, "web", "ns", ["ls", "-l"])
    assert (code, b"output", b"err") == (result.exit_code, result.stdout, result.stderr)


async def test_exec_sends_stdin_and_its_end() -> None:
    async def peer(messages: AsyncIterator[bytes], send: Send) -> None:
        async for message in messages:
            if message == b"\xff\x00":
                break
            await send(b"\x01" + message[1:].upper())
        await send(status(0))

    async with serving(peer) as kube:
        result = await execute(kube, "web", "ns", ["cat"], stdin=b"hello")
    assert b"HELLO" == result.stdout


async def test_a_server_that_breaks_off_is_unavailable() -> None:
    async def peer(messages: AsyncIterator[bytes], send: Send) -> None:
        await send(b"\x01out")

    async with serving(peer) as kube:
        with pytest.raises(Unavailable, match="no status"):
            await execute(kube, "web", "ns", ["ls"])


async def test_another_subprotocol_is_refused() -> None:
    async def peer(messages: AsyncIterator[bytes], send: Send) -> None:
        return

    async with serving(peer, protocol="v4.channel.k8s.io") as kube:
        with pytest.raises(Invalid, match=r"v4\.channel"):
            await execute(kube, "web", "ns", ["ls"])


async def forwarder(messages: AsyncIterator[bytes], send: Send) -> None:
    """A node: echoes each data stream upper-cased, refuses port 81."""
    session = spdy.Spdy(client=False)
    refused: dict[str, bool] = {}
    errors: dict[str, int] = {}
    async for message in messages:
        for event in session.receive(message):
            if isinstance(event, spdy.Opened):
                session.syn_reply(event.stream)
                request = event.headers["requestid"]
                if event.headers["streamtype"] == "error":
                    errors[request] = event.stream
                    refused[request] = event.headers["port"] == "81"
                elif refused[request]:
                    session.data(errors[request], b"connection refused", fin=True)
                    session.data(event.stream, b"", fin=True)
            elif isinstance(event, spdy.Data) and event.stream not in errors.values():
                session.data(event.stream, event.data.upper(), fin=event.fin)
        await send(session.to_send())


async def test_port_forward_carries_many_connections_at_once() -> None:
    async def talk(host: str, port: int, text: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(text)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    texts = [bytes([97 + n]) * 70_000 for n in range(5)]
    async with serving(forwarder) as kube, port_forward(kube, "web", "ns", 80) as (host, port):
        answers = await asyncio.gather(*(talk(host, port, text) for text in texts))
    assert [text.upper() for text in texts] == answers


async def test_a_port_that_refuses_closes_the_local_connection() -> None:
    async with serving(forwarder) as kube, port_forward(kube, "web", "ns", 81) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        assert b"" == await reader.read()
        writer.close()


async def test_a_reader_that_goes_away_does_not_hold_up_the_others() -> None:
    """The session waits for room in a connection's queue; who leaves must free it."""

    async def flood(messages: AsyncIterator[bytes], send: Send) -> None:
        session = spdy.Spdy(client=False)
        async for message in messages:
            for event in session.receive(message):
                if isinstance(event, spdy.Opened) and event.headers["streamtype"] == "data":
                    session.syn_reply(event.stream)
                    first = event.headers["requestid"] == "0"
                    for _ in range(100 if first else 1):
                        session.data(event.stream, b"x")
            await send(session.to_send())

    async with serving(flood) as kube, PortForward(kube, "web", "ns", 80) as forward:
        slow = await forward.connect()
        other = await forward.connect()
        async with asyncio.timeout(60):
            while not slow._queue.full():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0)
        await slow.close()
        assert b"x" == await asyncio.wait_for(other.read(), 60)
