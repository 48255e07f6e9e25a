"""How clients of exec, attach and port-forward talk: WebSocket messages or SPDY streams.

    kubectl ≥ 1.30 exec           WebSocket v5.channel.k8s.io            one byte of channel per message
    kubectl ≥ 1.31 port-forward   WebSocket SPDY/3.1+portforward.k8s.io  SPDY inside messages
    older ones                    Upgrade: SPDY/3.1                      SPDY on the connection itself

`Link` hides whether bytes travel bare or in WebSocket messages.
Source: KEP-4006; kubernetes apimachinery pkg/util/httpstream, staging/src/k8s.io/kubelet/pkg/cri/streaming.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HEAD_BYTES_MAX = 64 * 1024
_READ_BYTES = 64 * 1024
_MESSAGE_BYTES_MAX = 4 * 1024 * 1024


class Refused(Exception):
    """A request cannot be served; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Request:
    """A request's head; bodies mean nothing here."""

    method: str
    path: tuple[str, ...]
    query: dict[str, list[str]]
    headers: dict[str, str] = field(default_factory=dict)

    def first(self, name: str, default: str = "") -> str:
        """Returns a query parameter's first value."""
        return self.query.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """Returns whether a query parameter is set to true."""
        return self.first(name).lower() in ("1", "true")

    @property
    def is_websocket(self) -> bool:
        """Whether the client asks for a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def is_spdy(self) -> bool:
        """Whether the client asks for bare SPDY."""
        return self.headers.get("upgrade", "").lower().startswith("spdy/3.1")

    def protocols(self) -> list[str]:
        """Returns the subprotocols that the client offers, best first."""
        name = "sec-websocket-protocol" if self.is_websocket else "x-stream-protocol-version"
        return [item.strip() for item in self.headers.get(name, "").split(",") if item.strip()]


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Returns the next request's head.

    Raises:
        Refused: it is no HTTP/1.1 or too long.
        EOFError: the connection ended.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise Refused(431, f"the request's head exceeds {_HEAD_BYTES_MAX} bytes") from None
    try:
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, version = first.split(" ")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            known = headers.get(name.lower())
            headers[name.lower()] = f"{known}, {value.strip()}" if known else value.strip()
    except ValueError:
        raise Refused(400, "the request's head is malformed") from None
    if version != "HTTP/1.1":
        raise Refused(505, f"{version} is not HTTP/1.1")
    path, _, query = target.partition("?")
    parts = tuple(unquote(part) for part in path.split("/") if part)
    return Request(method, parts, parse_qs(query, keep_blank_values=True), headers)


class Link:
    """Bytes both ways, bare."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes | None:
        """Returns the next bytes, None after the peer ended."""
        return await self._reader.read(_READ_BYTES) or None

    async def send(self, data: bytes) -> None:
        """Sends bytes; waits while the peer is slow."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Says goodbye where the protocol has a word for it."""


class WebSocketLink(Link):
    """Bytes both ways, each piece a binary message; pings are answered here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._frames = Connection(ConnectionType.SERVER)
        self._messages: list[bytes] = []
        self._held = bytearray()
        self._ended = False

    async def receive(self) -> bytes | None:
        """Returns the next whole message, None after the peer closed."""
        while not self._messages and not self._ended:
            data = await self._reader.read(_READ_BYTES)
            try:
                self._frames.receive_data(data or None)
                for event in self._frames.events():
                    await self._take(event)
            except RemoteProtocolError:
                self._ended = True
        return self._messages.pop(0) if self._messages else None

    async def _take(self, event: object) -> None:
        if isinstance(event, BytesMessage | TextMessage):
            data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
            self._held += data
            if len(self._held) > _MESSAGE_BYTES_MAX:
                self._ended = True
            elif event.message_finished:
                self._messages.append(bytes(self._held))
                self._held.clear()
        elif isinstance(event, Ping):
            await super().send(self._frames.send(event.response()))
        elif isinstance(event, CloseConnection):
            self._ended = True

    async def send(self, data: bytes) -> None:
        """Sends one binary message."""
        try:
            await super().send(self._frames.send(BytesMessage(data)))
        except LocalProtocolError:
            raise ConnectionResetError("the websocket is closed") from None

    async def close(self) -> None:
        """Sends the closing frame (1000)."""
        if not self._ended:
            self._ended = True
            await super().send(self._frames.send(CloseConnection(code=1000)))


async def accept(
    request: Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    supported: Sequence[str],
) -> tuple[Link, str]:
    """Answers an upgrade; returns the link and the protocol agreed on.

    Args:
        request: Asks for a WebSocket or SPDY.
        reader: After the head.
        writer: Of the connection.
        supported: Protocols that the caller speaks over this kind of upgrade.

    Raises:
        Refused: it asks for no upgrade, or offers no protocol of `supported`.
    """
    if not request.is_websocket and not request.is_spdy:
        raise Refused(400, "Upgrade request required")
    offered = request.protocols()
    chosen = next((name for name in offered if name in supported), None)
    if chosen is None:
        raise Refused(400 if request.is_websocket else 403, f"none of {offered} is supported")
    if request.is_websocket:
        key = request.headers.get("sec-websocket-key", "").encode()
        accepted = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accepted + b"\r\n"
            b"Sec-WebSocket-Protocol: " + chosen.encode() + b"\r\n\r\n"
        )
        await writer.drain()
        return WebSocketLink(reader, writer), chosen
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n"
        b"X-Stream-Protocol-Version: " + chosen.encode() + b"\r\n\r\n"
    )
    await writer.drain()
    return Link(reader, writer), chosen
