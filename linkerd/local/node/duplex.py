"""An upgraded connection as messages: WebSocket frames, or the raw bytes of SPDY."""

from __future__ import annotations

import asyncio
from typing import Protocol

import wsproto
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.events import Request as Handshake
from wsproto.utilities import ProtocolError

from linkerd.errors import WireError
from linkerd.local.node.request import Refused, Request

_CHUNK = 64 * 1024
#: Longest message that is put together from fragments.
_MESSAGE_BYTES_MAX = 4 * 1024 * 1024


class Duplex(Protocol):
    """Messages both ways."""

    protocol: str

    async def receive(self) -> bytes | None:
        """Returns the next message, None at the end."""

    async def send(self, data: bytes) -> None:
        """Sends one message."""

    async def close(self) -> None:
        """Says goodbye."""


class RawSpdy:
    """A connection upgraded to SPDY: messages are whatever bytes arrive."""

    def __init__(
        self, protocol: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.protocol = protocol
        self._reader, self._writer = reader, writer

    async def receive(self) -> bytes | None:
        """Returns the next bytes, None at the end."""
        return await self._reader.read(_CHUNK) or None

    async def send(self, data: bytes) -> None:
        """Sends bytes.

        Raises:
            OSError: the connection is gone.
        """
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Sends what is left."""
        await self._writer.drain()


class WebSocket:
    """The server's side of a WebSocket, after its handshake."""

    def __init__(
        self,
        connection: wsproto.WSConnection,
        protocol: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.protocol = protocol
        self._connection = connection
        self._reader, self._writer = reader, writer
        self._messages: list[bytes] = []
        self._partial = b""
        self._ended = False

    async def receive(self) -> bytes | None:
        """Returns the next message, None at the end.

        Raises:
            WireError: the peer broke the protocol.
            OSError: the connection is gone.
        """
        while not self._messages:
            if self._ended:
                return None
            data = await self._reader.read(_CHUNK)
            try:
                self._connection.receive_data(data or None)
                for event in self._connection.events():
                    self._take(event)
            except ProtocolError as error:
                raise WireError(f"websocket: {error}") from None
            if not data:
                self._ended = True
            await self._writer.drain()
        return self._messages.pop(0)

    def _take(self, event: object) -> None:
        if isinstance(event, BytesMessage | TextMessage):
            data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
            self._partial += data
            if len(self._partial) > _MESSAGE_BYTES_MAX:
                raise WireError(f"websocket message exceeds {_MESSAGE_BYTES_MAX} bytes")
            if event.message_finished:
                self._messages.append(self._partial)
                self._partial = b""
        elif isinstance(event, Ping):
            self._writer.write(self._connection.send(Pong(event.payload)))
        elif isinstance(event, CloseConnection):
            self._ended = True
            if self._connection.state is not ConnectionState.CLOSED:
                self._writer.write(self._connection.send(event.response()))

    async def send(self, data: bytes) -> None:
        """Sends one binary message.

        Raises:
            OSError: the connection is gone.
        """
        if self._connection.state is not ConnectionState.OPEN:
            raise ConnectionResetError("websocket is closed")
        self._writer.write(self._connection.send(BytesMessage(data)))
        await self._writer.drain()

    async def close(self) -> None:
        """Sends a normal close."""
        if self._connection.state is ConnectionState.OPEN:
            self._writer.write(self._connection.send(CloseConnection(1000)))
            await self._writer.drain()


async def upgrade(
    request: Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    websocket: tuple[str, ...],
    spdy: tuple[str, ...],
) -> Duplex:
    """Answers an upgrade.

    Args:
        request: Asks for WebSocket or SPDY/3.1.
        reader: Of the connection, after the head.
        writer: Of the connection.
        websocket: Subprotocols that are spoken, best first.
        spdy: Values of X-Stream-Protocol-Version that are spoken, best first.

    Raises:
        Refused: it asks for neither, or for nothing that is spoken.
    """
    wanted = request.headers.get("upgrade", "").lower()
    if wanted == "websocket":
        return await _websocket(request, reader, writer, websocket)
    if wanted == "spdy/3.1":
        offered = _listed(request.headers.get("x-stream-protocol-version", ""))
        chosen = next((name for name in spdy if name in offered), None)
        if chosen is None:
            raise Refused(403, "Forbidden", f"no common stream protocol among {offered}")
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            + f"X-Stream-Protocol-Version: {chosen}\r\n\r\n".encode()
        )
        await writer.drain()
        return RawSpdy(chosen, reader, writer)
    raise Refused(400, "BadRequest", "unable to upgrade: neither WebSocket nor SPDY/3.1 was asked")


async def _websocket(
    request: Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    spoken: tuple[str, ...],
) -> WebSocket:
    connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    offered: list[str] = []
    try:
        connection.receive_data(request.raw)
        for event in connection.events():
            if isinstance(event, Handshake):
                offered = event.subprotocols
        chosen = next((name for name in spoken if name in offered), None)
        if chosen is None:
            raise Refused(400, "BadRequest", f"no common subprotocol among {offered}")
        writer.write(connection.send(AcceptConnection(subprotocol=chosen)))
    except ProtocolError as error:
        raise Refused(400, "BadRequest", f"websocket handshake: {error}") from None
    await writer.drain()
    return WebSocket(connection, chosen, reader, writer)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
