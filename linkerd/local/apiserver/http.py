"""HTTP/1.1 over asyncio streams: requests in, answers, endless streams or raw relays out.

Knows nothing of Kubernetes. Hand-written because servers of ASGI can neither hand the connection
over for SPDY upgrades nor hold a thousand watches in a few megabytes.
Limits: head 64 KiB, body 8 MiB, idle connection 5 minutes.
Source: RFC 9112 (framing).
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

from linkerd import log, runtime

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 8 * 1024 * 1024
IDLE_S = 300.0
#: A client that takes longer to accept bytes of a stream is cut off.
STALLED_S = 60.0
_CONNECTIONS_MAX = 10_000
#: asyncio reads TLS into a buffer of 256 KiB per connection; a thousand idle watches would hold
#: 256 MiB of them. One record is 16 KiB.
_TLS_READ_BYTES = 16 * 1024

_log = log.logger(__name__)


@dataclass(slots=True)
class Request:
    """One request; header names are lower-case, `target` is as sent, `path` is decoded."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    head: bytes = b""
    path: str = ""
    query: dict[str, list[str]] = field(default_factory=dict)

    def first(self, name: str, default: str = "") -> str:
        """Returns the first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default


@dataclass(slots=True)
class Response:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Stream:
    """An answer sent chunk by chunk until the iterator ends or the client leaves."""

    chunks: AsyncIterator[bytes]
    status: int = 200
    content_type: str = "application/json"


@dataclass(slots=True)
class Relay:
    """The connection is handed over: `run` speaks raw bytes until it returns, then it is closed."""

    run: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


Answer = Response | Stream | Relay
App = Callable[[Request], Awaitable[Answer]]


class Refused(Exception):
    """Bytes that are no acceptable HTTP request; `status` is the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpServer:
    """Serves one app on any number of listeners."""

    def __init__(self, app: App, tls: ssl.SSLContext | None) -> None:
        asyncio.sslproto.SSLProtocol.max_size = _TLS_READ_BYTES
        self._app = app
        self._tls = tls
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def listen(self, sock: socket.socket) -> None:
        """Starts to accept connections of a bound socket."""
        server = await asyncio.start_server(
            self._accepted,
            sock=sock,
            ssl=self._tls,
            limit=HEAD_BYTES_MAX,
            backlog=512,
            ssl_handshake_timeout=10 if self._tls else None,
            ssl_shutdown_timeout=1 if self._tls else None,
        )
        self._servers.append(server)

    async def close(self) -> None:
        """Stops to accept and cuts every connection."""
        for server in self._servers:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= _CONNECTIONS_MAX:
            writer.transport.abort()
            return
        runtime.spawn(self._connection(reader, writer), name="connection", into=self._tasks)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serves one request; returns whether the connection stays open."""
        try:
            async with asyncio.timeout(IDLE_S):
                request = await read_request(reader, writer)
        except Refused as refused:
            body = json.dumps({"error": str(refused)}).encode()
            writer.write(_render(Response(refused.status, body), False, False))
            await writer.drain()
            return False
        if request is None:
            return False
        keep = request.headers.get("connection", "").lower() != "close"
        answer = await self._app(request)
        if isinstance(answer, Response):
            writer.write(_render(answer, keep, request.method == "HEAD"))
            await writer.drain()
            return keep
        if isinstance(answer, Stream):
            await _send_stream(answer, reader, writer)
        else:
            await answer.run(reader, writer)
        return False


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None
) -> Request | None:
    """Returns the next request of a connection, None when the client closed it.

    Args:
        reader: The connection.
        writer: Where `100 Continue` goes.

    Raises:
        Refused: the bytes are no request that this server takes.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise Refused(400, "request head ended early") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise Refused(431, "request head is too large") from error
    request = parse_head(head)
    if request.headers.get("expect", "").lower() == "100-continue" and writer is not None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.body = await _read_body(reader, request.headers)
    return request


def parse_head(head: bytes) -> Request:
    """Returns the request that a head (up to the empty line) describes, without its body.

    Raises:
        Refused: 400, the head is malformed.
    """
    lines = head.lstrip(b"\r\n")[:-4].decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[0].isalpha():
        raise Refused(400, "malformed request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Refused(400, "malformed header")
        key = name.lower()
        value = value.strip()
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    path, _, query = words[1].partition("?")
    return Request(
        method=words[0],
        target=words[1],
        headers=headers,
        head=head,
        path=unquote(path),
        query=parse_qs(query, keep_blank_values=True) if query else {},
    )


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked" or "content-length" in headers:
            raise Refused(400, "unacceptable framing")
        return await _read_chunked(reader)
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise Refused(400, "malformed content-length")
    length = int(text)
    if length > BODY_BYTES_MAX:
        raise Refused(413, f"request body is larger than {BODY_BYTES_MAX} bytes")
    return await reader.readexactly(length) if length else b""


async def _read_chunked(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    total = 0
    while True:
        line = await reader.readuntil(b"\r\n")
        try:
            size = int(line.split(b";")[0].strip(), 16)
        except ValueError as error:
            raise Refused(400, "malformed chunk") from error
        total += size
        if size < 0 or total > BODY_BYTES_MAX:
            raise Refused(413, f"request body is larger than {BODY_BYTES_MAX} bytes")
        if size == 0:
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return b"".join(parts)
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)


def _render(response: Response, keep: bool, head_only: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {_phrase(response.status)}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-cache, private",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    if not keep:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if head_only else head + response.body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


async def _send_stream(
    stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(
        (
            f"HTTP/1.1 {stream.status} {_phrase(stream.status)}\r\n"
            f"Content-Type: {stream.content_type}\r\n"
            "Cache-Control: no-cache, private\r\n"
            "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        ).encode("latin-1")
    )
    sender = asyncio.current_task()
    assert sender is not None
    tasks: set[asyncio.Task[Any]] = set()
    runtime.spawn(_cancel_when_gone(reader, sender), name="client gone", into=tasks)
    try:
        async for chunk in stream.chunks:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            async with asyncio.timeout(STALLED_S):
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    except asyncio.CancelledError:
        writer.transport.abort()
        raise
    finally:
        for task in tasks:
            task.cancel()


async def _cancel_when_gone(reader: asyncio.StreamReader, sender: asyncio.Task[Any]) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while await reader.read(4096):
            pass
    sender.cancel()
