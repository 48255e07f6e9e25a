"""The admin port of a daemon: /metrics, /ping, /ready, /live.

GET and HEAD only, header blocks of at most 16 KiB, 64 connections, so that probes and scrapes cost
next to nothing. `/ready` answers 500 with the pending tasks until all are done.
Source: linkerd2 pkg/admin/admin.go (paths, bodies).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

from prometheus_client import CollectorRegistry

from linkerd import metrics
from linkerd.serve.readiness import Readiness

Page = Callable[[], tuple[int, str, bytes]]
"""Makes a page: status, content type, body."""

_HEAD_BYTES_MAX = 16 * 1024
_CONNECTIONS_MAX = 64
_IDLE_S = 90.0
_TEXT = "text/plain; charset=utf-8"
_REASON = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error"}


@contextlib.asynccontextmanager
async def serve(
    host: str,
    port: int,
    *,
    registry: CollectorRegistry,
    readiness: Readiness,
    pages: Mapping[str, Page] | None = None,
) -> AsyncIterator[int]:
    """Serves the admin port while the context is open; yields the port.

    Args:
        host: Address to bind.
        port: 0 picks one.
        registry: What /metrics shows.
        readiness: What /ready tells.
        pages: More pages, by exact path.
    """
    table: dict[str, Page] = {
        "/metrics": lambda: (200, metrics.CONTENT_TYPE, metrics.text(registry)),
        "/ping": lambda: (200, _TEXT, b"pong\n"),
        "/live": lambda: (200, _TEXT, b"live\n"),
        "/ready": lambda: _ready(readiness),
        **(pages or {}),
    }
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(tasks) >= _CONNECTIONS_MAX:
            writer.close()
            return
        tasks.add(task)
        try:
            while await _answer_one(table, reader, writer):
                pass
        except (OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError):
            pass  # the peer went away, idled, or spoke no HTTP
        except asyncio.CancelledError:
            pass  # we are closing
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, host, port, limit=_HEAD_BYTES_MAX)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _ready(readiness: Readiness) -> tuple[int, str, bytes]:
    if readiness.ready:
        return 200, _TEXT, b"ok\n"
    return 500, _TEXT, f"not ready: {', '.join(readiness.pending)}\n".encode()


async def _answer_one(
    table: Mapping[str, Page], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    async with asyncio.timeout(_IDLE_S):
        head = await reader.readuntil(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    method, target, version = line.split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)
    }
    page = table.get(target.partition("?")[0])
    if method not in ("GET", "HEAD"):
        status, kind, body = 405, _TEXT, b"GET only\n"
    elif page is None:
        status, kind, body = 404, _TEXT, b"not found\n"
    else:
        status, kind, body = page()
    keep = (
        version == "HTTP/1.1"
        and headers.get("connection", "").lower() != "close"
        and headers.get("content-length", "0") == "0"
        and "transfer-encoding" not in headers
    )
    answer = (
        f"HTTP/1.1 {status} {_REASON.get(status, 'Status')}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    ).encode("latin-1")
    writer.write(answer if method == "HEAD" else answer + body)
    await writer.drain()
    return keep
