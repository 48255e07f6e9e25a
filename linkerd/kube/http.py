"""A small HTTP/1.1 client on asyncio streams: keep-alive pool, streamed bodies, upgrades.

Own because start time and memory count in every daemon: importing a general client costs 190 ms.
It knows one origin, no redirects, no cookies, no compression.

    Http ── request()  pooled connection, whole body
         ├─ open()     own connection, body chunk by chunk
         └─ upgrade()  own connection, raw bytes after 101
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import time
import weakref
from asyncio import sslproto
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from linkerd.errors import Unavailable, UsageError
from linkerd.kube import http1

_IDLE_MAX = 8
_REQUESTS_MAX = 64
_CONNECT_TIMEOUT_S = 10.0
_READ_BYTES = 65536
_BODY_BYTES_MAX = 512 * 1024 * 1024
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# Each TLS connection holds a read buffer of this size, by default 256 KiB: with a watch for each
# kind that is 5 MB of a daemon at rest. A record is 16 KiB, so this still takes two in one read.
sslproto.SSLProtocol.max_size = 32 * 1024

Headers = dict[str, str | tuple[str, ...]]
"""Names to one value or several."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class Response:
    """A status, headers (lower-case names) and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Observer(Protocol):
    """Is told how requests and watches fare."""

    def asked(self) -> None:
        """A request is sent."""

    def answered(self, method: str, status: int, seconds: float) -> None:
        """Its answer began after so long; status 0 when none came."""

    def lag(self, kind: str) -> Callable[[float], None] | None:
        """Returns who is told how many seconds after a change of a kind its watch told of it."""


class _Connection:
    """One connection and where its conversation is."""

    __slots__ = ("_head", "_method", "_open", "reader", "reused", "writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.reused = False
        self._method = ""
        self._head: http1.Head | None = None
        self._open = False

    @property
    def alive(self) -> bool:
        return not self.reader.at_eof() and not self.writer.is_closing()

    async def send(self, method: str, head: bytes, body: bytes) -> None:
        self._method, self._open = method, True
        self.writer.write(head + body if body else head)
        await self.writer.drain()

    async def head(self) -> http1.Head:
        while True:
            head = http1.response(await http1.read_head(self.reader), asked=self._method)
            if head.status >= 200 or head.status == 101:
                self._head = head
                return head

    async def chunks(self) -> AsyncIterator[bytes]:
        assert self._head is not None
        async for chunk in http1.chunks(self.reader, self._head):
            yield chunk
        self._open = False

    async def body(self, bytes_max: int) -> bytes | None:
        assert self._head is not None
        whole = await http1.body(self.reader, self._head, bytes_max)
        self._open = whole is None
        return whole

    def recycle(self) -> bool:
        """Readies the connection for its next request; False when it must be closed."""
        self.reused = True
        return not self._open and self._head is not None and self._head.keep and self.alive

    def close(self) -> None:
        self.writer.close()


class Streamed:
    """An answer whose body is still arriving."""

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], connection: _Connection) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the body as it arrives, never an empty chunk.

        Raises:
            Unavailable: the connection broke.
        """
        with _translated("stream"):
            async for chunk in self._connection.chunks():
                yield chunk

    async def lines(self, max_bytes: int = 64 * 1024 * 1024) -> AsyncIterator[bytes]:
        """Yields the body's lines without their ends; a last line without an end is dropped.

        Raises:
            Unavailable: the connection broke or a line exceeds `max_bytes`.
        """
        parts: list[bytes] = []
        held = 0
        async for chunk in self.chunks():
            *complete, rest = chunk.split(b"\n")
            for line in complete:
                yield b"".join((*parts, line)) if parts else line
                parts, held = [], 0
            if rest:
                parts.append(rest)
                held += len(rest)
                if held > max_bytes:
                    raise Unavailable(f"a line exceeds {max_bytes} bytes")


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A connection that left HTTP: `rest` are bytes already read, then `reader` continues."""

    headers: Mapping[str, str]
    rest: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Http:
    """A client of one origin; close it when done."""

    def __init__(
        self,
        server: str,
        tls: Callable[[], ssl.SSLContext | None],
        *,
        tls_server_name: str = "",
        observer: Observer | None = None,
    ) -> None:
        parts = urlsplit(server)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        self._tls = tls
        self._server_name = tls_server_name or self._host
        self._observer = observer
        self._idle: list[_Connection] = []
        # The loop holds a transport until its TLS farewell is answered, longer than we do.
        self._transports: weakref.WeakSet[asyncio.WriteTransport] = weakref.WeakSet()
        self._slots = asyncio.Semaphore(_REQUESTS_MAX)
        self.server = server

    async def request(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes = b"",
        *,
        timeout_s: float = 30.0,
    ) -> Response:
        """Sends one request and returns the whole answer.

        A pooled connection that turns out dead is replaced once for methods that may be repeated.

        Raises:
            Unavailable: no connection, a broken one, no answer within `timeout_s`, or a body
                above 512 MiB.
        """
        with _translated(f"{method} {self.server}{target}"):
            async with self._slots, asyncio.timeout(timeout_s):
                connection = self._pooled() or await self._connect()
                try:
                    return await self._exchange(connection, method, target, headers, body)
                except (OSError, EOFError):
                    if not connection.reused or method not in _IDEMPOTENT:
                        raise
                connection = await self._connect()
                return await self._exchange(connection, method, target, headers, body)

    @contextlib.asynccontextmanager
    async def open(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes = b"",
        *,
        timeout_s: float = 30.0,
    ) -> AsyncIterator[Streamed]:
        """Sends a request and lends its answer as a stream; `timeout_s` bounds the head only.

        Raises:
            Unavailable: as `request`.
        """
        with _translated(f"{method} {self.server}{target}"):
            async with asyncio.timeout(timeout_s):
                connection = await self._connect()
                try:
                    head = await self._ask(connection, method, target, headers, body)
                except BaseException:
                    connection.close()
                    raise
        try:
            yield Streamed(head.status, dict(head.fields), connection)
        finally:
            connection.close()

    async def upgrade(
        self, target: str, headers: Headers, *, timeout_s: float = 30.0
    ) -> Upgraded | Response:
        """Sends a GET that asks to switch protocols.

        Returns:
            The raw connection after 101, owned by the caller; else the answer that refused.

        Raises:
            Unavailable: as `request`.
        """
        with _translated(f"GET {self.server}{target}"):
            async with asyncio.timeout(timeout_s):
                connection = await self._connect()
                try:
                    head = await self._ask(connection, "GET", target, headers, b"")
                    if head.status == 101:
                        fields = dict(head.fields)
                        return Upgraded(fields, b"", connection.reader, connection.writer)
                    body = await connection.body(_BODY_BYTES_MAX)
                except BaseException:
                    connection.close()
                    raise
                connection.close()
                return Response(head.status, dict(head.fields), body or b"")

    async def close(self) -> None:
        """Closes every connection, also those that were lent out and not given back."""
        for transport in tuple(self._transports):
            transport.close()
            transport.abort()
        self._idle.clear()
        # An aborted transport lets go of its socket in the next turn of the loop.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _pooled(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        context = self._tls()
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                self._host,
                self._port,
                ssl=context,
                server_hostname=self._server_name if context else None,
                limit=4 * _READ_BYTES,
            )
        self._transports.add(writer.transport)
        _detect_dead_peer(writer.get_extra_info("socket"))
        return _Connection(reader, writer)

    def _head(self, method: str, target: str, headers: Headers, body: bytes) -> bytes:
        fields = [("Host", self._authority)]
        for name, value in headers.items():
            values = value if isinstance(value, tuple) else (value,)
            fields += [(name, each) for each in values]
        if body or method in ("POST", "PUT", "PATCH"):
            fields.append(("Content-Length", str(len(body))))
        line = f"{method} {self._prefix}{target} HTTP/1.1"
        if _CONTROL.search(line) or any(_CONTROL.search(name + value) for name, value in fields):
            raise UsageError("a request holds control characters")
        return http1.render(line, fields)

    async def _exchange(
        self,
        connection: _Connection,
        method: str,
        target: str,
        headers: Headers,
        body: bytes,
    ) -> Response:
        try:
            head = await self._ask(connection, method, target, headers, body)
            whole = await connection.body(_BODY_BYTES_MAX)
            if whole is None:
                raise Unavailable(f"{method} {target}: answer exceeds {_BODY_BYTES_MAX} bytes")
        except BaseException:
            connection.close()
            raise
        if connection.recycle() and len(self._idle) < _IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()
        return Response(head.status, dict(head.fields), whole)

    async def _ask(
        self, connection: _Connection, method: str, target: str, headers: Headers, body: bytes
    ) -> http1.Head:
        """Sends a request; returns the head of its answer, and tells the observer."""
        request = self._head(method, target, headers, body)
        if self._observer is None:
            await connection.send(method, request, body)
            return await connection.head()
        began_s, status = time.monotonic(), 0
        self._observer.asked()
        try:
            await connection.send(method, request, body)
            head = await connection.head()
            status = head.status
            return head
        finally:
            self._observer.answered(method, status, time.monotonic() - began_s)


def _detect_dead_peer(sock: socket.socket | None) -> None:
    """Makes a silent watch fail within a minute when the server's machine is gone."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise Unavailable(f"{what}: no answer in time") from None
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(
            f"{what}: certificate refused: {error.verify_message}",
            hint="the kubeconfig's certificate authority must have signed the server's certificate",
        ) from None
    except (OSError, http1.BadMessage, EOFError) as error:
        raise Unavailable(f"{what}: {error or type(error).__name__}") from None
