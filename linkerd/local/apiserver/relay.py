"""Passing a request on as raw bytes: to the node over a unix socket, to aggregated APIs by TLS.

After the rewritten head both directions are copied untouched until either side ends, so upgrades
(WebSocket, SPDY) and endless answers need no understanding here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import msgspec

from linkerd.local.apiserver.http import Relay, Request
from linkerd.local.apiserver.status import ApiError, unavailable

_CHUNK = 64 * 1024
_CONNECT_S = 5.0
_ANSWER_BYTES_MAX = 4 * 1024 * 1024
#: Headers that are the business of one connection, or of this server alone.
_DROPPED = frozenset(
    ("authorization", "host", "content-length", "transfer-encoding", "expect", "keep-alive")
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where bytes go: a unix socket's path, or host and port with TLS."""

    host: str
    port: int = 0
    tls: ssl.SSLContext | None = None
    server_name: str = ""


class Broken(Exception):
    """The other side closed early or sent no HTTP."""


def rewritten(request: Request, target: str, headers: dict[str, str]) -> bytes:
    """Returns the head to send on: the caller's without credentials, plus `headers`.

    Without an upgrade the other side is told to close, because the connection ends with the
    answer.
    """
    upgrade = "upgrade" in request.headers.get("connection", "").lower()
    lines = [f"{request.method} {target} HTTP/1.1"]
    wanted = {name.lower() for name in headers}
    for name, value in request.headers.items():
        if name in _DROPPED or name in wanted or name.startswith("x-remote-"):
            continue
        if name == "connection" and not upgrade:
            continue
        if name == "sec-websocket-protocol":
            value = _without_token(value)
        lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(request.body)}")
    if not upgrade:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _without_token(protocols: str) -> str:
    """Drops a bearer token that a browser hides among the WebSocket subprotocols."""
    kept = [
        protocol.strip()
        for protocol in protocols.split(",")
        if not protocol.strip().startswith("base64url.bearer.authorization.k8s.io.")
    ]
    return ", ".join(kept)


def to(upstream: Upstream, sent: bytes) -> Relay:
    """Returns the relay that sends `sent` and then joins both connections."""

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await connect(upstream)
        except (OSError, TimeoutError, ssl.SSLError) as error:
            writer.write(_refusal(unavailable(f"error dialing backend: {error}")))
            await writer.drain()
            return
        try:
            far_writer.write(sent)
            await far_writer.drain()
            await _join(reader, writer, far_reader, far_writer)
        finally:
            far_writer.close()

    return Relay(run)


async def connect(upstream: Upstream) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Returns a connection to an upstream.

    Raises:
        OSError, TimeoutError: it is out of reach.
    """
    async with asyncio.timeout(_CONNECT_S):
        if upstream.port == 0:
            return await asyncio.open_unix_connection(str(Path(upstream.host)))
        return await asyncio.open_connection(
            upstream.host,
            upstream.port,
            ssl=upstream.tls,
            server_hostname=upstream.server_name if upstream.tls else None,
        )


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    """Copies both ways; when the far side ends, all is over; when the near side ends, it is told."""
    with contextlib.suppress(_FarEnded):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(far_reader, writer, last=True))
                group.create_task(_copy(reader, far_writer, last=True))
        except* (ConnectionError, ssl.SSLError, _FarEnded):
            pass


class _FarEnded(Exception):
    """One direction is over; ends the task group."""


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, last: bool) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if last:
        raise _FarEnded


def _refusal(error: ApiError) -> bytes:
    body = msgspec.json.encode(error.body())
    return (
        f"HTTP/1.1 {error.status} Error\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


async def exchange(upstream: Upstream, sent: bytes) -> tuple[int, bytes]:
    """Sends a whole request and returns status and body of the answer.

    The request must ask the other side to close.

    Raises:
        Broken: the answer is no HTTP, is cut short or too large.
        OSError, TimeoutError: the upstream is out of reach.
    """
    reader, writer = await connect(upstream)
    try:
        writer.write(sent)
        await writer.drain()
        parts = []
        size = 0
        while data := await reader.read(_CHUNK):
            parts.append(data)
            size += len(data)
            if size > _ANSWER_BYTES_MAX:
                raise Broken("answer is too large")
    finally:
        writer.close()
    head, separator, body = b"".join(parts).partition(b"\r\n\r\n")
    words = head.split(b"\r\n")[0].split(b" ")
    if not separator or len(words) < 2 or not words[1].isdigit():
        raise Broken("answer is no HTTP")
    if b"transfer-encoding: chunked" in head.lower():
        body = _unchunked(body)
    return int(words[1]), body


def _unchunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    while True:
        size_text, separator, rest = body.partition(b"\r\n")
        try:
            size = int(size_text.split(b";")[0], 16)
        except ValueError:
            raise Broken("answer is cut short") from None
        if not separator or len(rest) < size:
            raise Broken("answer is cut short")
        if size == 0:
            return b"".join(parts)
        parts.append(rest[:size])
        body = rest[size + 2 :]
