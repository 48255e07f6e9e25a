"""A small HTTP/1.1 server on asyncio streams, with TLS that follows its files.

For the few requests per second that webhooks, aggregated APIs and probes bring; 2 MiB of memory
instead of a framework's twenty. Bodies, header blocks, connections and idle times are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from linkerd import log
from linkerd.kube import http1

BODY_BYTES_MAX = 10 * 1024 * 1024
"""Source: linkerd2 controller/webhook/server.go."""

_CONNECTIONS_MAX = 512
_IDLE_S = 90.0
_HANDLER_S = 30.0
_CERT_CHECK_S = 5.0
_PHRASES = {each.value: each.phrase for each in HTTPStatus}

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are lower case, of repeated ones `headers` has the last."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()
    """All headers in their order."""

    certificate: Mapping[str, Any] | None = None
    """The client's verified certificate in the form of `ssl.SSLSocket.getpeercert`."""

    def values(self, name: str) -> list[str]:
        """Returns every value of a header, given in lower case."""
        return [value for key, value in self.fields if key == name]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with a whole body."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Streamed:
    """One answer whose body comes chunk by chunk, until `chunks` ends or the client goes."""

    chunks: AsyncGenerator[bytes, None]
    status: int = 200
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Answer | Streamed]]


class CertificateFiles:
    """A server TLS context that is replaced when its files change.

    Raises at construction what `ssl` raises for missing or wrong files; later a broken pair is
    logged and the old one stays. Source: linkerd2 pkg/tls (reload on the `..data` swap).
    """

    def __init__(
        self, cert: str, key: str, *, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ) -> None:
        self._cert, self._key = cert, key
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = minimum
        self._stamp = self._read_stamp()
        self._context.load_cert_chain(cert, key)

    @property
    def context(self) -> ssl.SSLContext:
        """The context; the same object for ever, its chain is exchanged."""
        return self._context

    async def follow(self) -> None:
        """Looks at the files every five seconds, for ever."""
        while True:
            await asyncio.sleep(_CERT_CHECK_S)
            self.reload()

    def reload(self) -> bool:
        """Loads the files if they changed; returns whether it did."""
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp:
                return False
            self._context.load_cert_chain(self._cert, self._key)
        except (OSError, ssl.SSLError) as error:
            _log.warn("certificate not reloaded", file=self._cert, error=error)
            return False
        self._stamp = stamp
        _log.info("certificate reloaded", file=self._cert)
        return True

    def _read_stamp(self) -> tuple[tuple[int, int, int], ...]:
        stats = (os.stat(self._cert), os.stat(self._key))
        return tuple((s.st_mtime_ns, s.st_ino, s.st_size) for s in stats)


@contextlib.asynccontextmanager
async def serve(
    handler: Handler,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serves `handler` while the context is open; yields the port.

    Args:
        handler: Request → answer; one that takes over 30 s is answered with 504 for it.
        host: Address to bind; "0.0.0.0" for all.
        port: 0 picks one.
        tls: None serves plain text.
    """
    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(connections) >= _CONNECTIONS_MAX:
            writer.close()
            return
        connections.add(task)
        try:
            await _converse(handler, reader, writer)
        except (OSError, TimeoutError, EOFError, http1.BadMessage, asyncio.CancelledError):
            pass  # the peer went away, idled, spoke no HTTP, or we are closing
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, host, port, ssl=tls, reuse_address=True)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _converse(
    handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while True:
        async with asyncio.timeout(_IDLE_S):
            head = http1.request(await http1.read_head(reader))
        if head.expects:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async with asyncio.timeout(_IDLE_S):
            body = await http1.body(reader, head, BODY_BYTES_MAX)
        if body is None:
            await _send(writer, Answer(413, b"body exceeds 10 MiB\n"), keep=False)
            return
        request = Request(
            head.method,
            head.target,
            dict(head.fields),
            body,
            head.fields,
            writer.get_extra_info("peercert") or None,
        )
        try:
            async with asyncio.timeout(_HANDLER_S):
                answer = await handler(request)
        except TimeoutError:
            answer = Answer(504, b"no answer in time\n")
        if isinstance(answer, Streamed):
            await _stream(reader, writer, answer)
            return
        await _send(writer, answer, keep=head.keep, head_only=head.method == "HEAD")
        if not head.keep:
            return


async def _stream(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Streamed
) -> None:
    """Sends chunks as they come; the connection is not used again."""
    fields = (
        ("Content-Type", answer.content_type),
        *answer.headers.items(),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
    )

    async def send() -> None:
        with contextlib.suppress(OSError):  # the client went away
            writer.write(_head(answer.status, fields))
            await writer.drain()
            async with contextlib.aclosing(answer.chunks) as chunks:
                async for chunk in chunks:
                    if chunk:
                        writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                        await writer.drain()
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async def left() -> None:
        with contextlib.suppress(OSError):
            await reader.read(1)

    async with asyncio.TaskGroup() as group:
        tasks = (group.create_task(send()), group.create_task(left()))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _send(
    writer: asyncio.StreamWriter, answer: Answer, *, keep: bool, head_only: bool = False
) -> None:
    fields = (
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        *answer.headers.items(),
        *(() if keep else (("Connection", "close"),)),
    )
    head = _head(answer.status, fields)
    writer.write(head if head_only else head + answer.body)
    await writer.drain()


def _head(status: int, fields: Iterable[tuple[str, str]]) -> bytes:
    return http1.render(f"HTTP/1.1 {status} {_PHRASES.get(status, 'Status')}", fields)
