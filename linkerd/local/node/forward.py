"""Port-forward: SPDY streams, inside a WebSocket or raw, to connections in a pod's network.

Source: Kubernetes pkg/kubelet (portforward), staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any

from linkerd import runtime
from linkerd.errors import WireError
from linkerd.kube import spdy
from linkerd.local.node import link
from linkerd.local.node.duplex import Duplex, upgrade
from linkerd.local.node.request import Request
from linkerd.local.node.worker import Worker

PROTOCOL = "portforward.k8s.io"
#: Connections of one session at a time.
CONNECTIONS_MAX = 1000
_CHUNK = 32 * 1024


async def serve(
    worker: Worker, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serves one port-forward session until the client ends it."""
    duplex = await upgrade(
        request, reader, writer, websocket=(f"SPDY/3.1+{PROTOCOL}",), spdy=(PROTOCOL,)
    )
    await _Session(worker, duplex).run()


class _Connection:
    """One forwarded connection: its two streams and its socket into the pod."""

    def __init__(self, error: int) -> None:
        self.error = error
        self.stream = 0
        self.writer: asyncio.StreamWriter | None = None
        self.ready = asyncio.Event()


class _Session:
    def __init__(self, worker: Worker, duplex: Duplex) -> None:
        self._worker = worker
        self._duplex = duplex
        self._spdy = spdy.Spdy(client=False)
        self._pending: dict[str, _Connection] = {}
        self._streams: dict[int, _Connection] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        try:
            while (data := await self._duplex.receive()) is not None:
                for event in self._spdy.receive(data):
                    await self._take(event)
                await self._flush()
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._duplex.close()

    async def _take(self, event: spdy.Event) -> None:
        if isinstance(event, spdy.Opened):
            self._open(event)
        elif isinstance(event, spdy.Data):
            connection = self._streams.get(event.stream)
            if connection is not None:
                await _write(connection, event)
        elif isinstance(event, spdy.Reset):
            connection = self._streams.pop(event.stream, None)
            if connection is not None and connection.writer is not None:
                connection.writer.close()

    def _open(self, event: spdy.Opened) -> None:
        headers = event.headers
        port, id = headers.get("port", ""), headers.get("requestid", "")
        kind = headers.get("streamtype")
        if not port.isdigit() or len(self._streams) >= CONNECTIONS_MAX:
            self._spdy.reset(event.stream, 3)
            return
        self._spdy.syn_reply(event.stream)
        if kind == "error":
            self._pending[id] = _Connection(event.stream)
        elif kind == "data":
            connection = self._pending.pop(id, None)
            if connection is None:
                raise WireError(f"port-forward request {id} has no error stream")
            connection.stream = event.stream
            self._streams[event.stream] = connection
            carry = self._carry(connection, int(port))
            runtime.spawn(carry, name=f"forward {port}", into=self._tasks)

    async def _carry(self, connection: _Connection, port: int) -> None:
        """Connects to the pod and sends on what comes from it."""
        try:
            reader, connection.writer = await self._connect(port)
        except OSError as error:
            text = (
                f"error forwarding port {port} to pod {self._worker.uid}, uid : "
                f"dial tcp4 127.0.0.1:{port}: connect: {os.strerror(error.errno or 0).lower()}"
            )
            self._spdy.data(connection.error, text.encode(), fin=True)
            self._spdy.data(connection.stream, b"", fin=True)
            self._streams.pop(connection.stream, None)
            connection.ready.set()
            await self._flush()
            return
        connection.ready.set()
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(_CHUNK):
                    self._spdy.data(connection.stream, data)
                    await self._flush()
            self._spdy.data(connection.error, b"", fin=True)
            self._spdy.data(connection.stream, b"", fin=True)
            with contextlib.suppress(OSError):
                await self._flush()
        finally:
            self._streams.pop(connection.stream, None)
            connection.writer.close()

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._worker.netns < 0:
            return await asyncio.open_connection("127.0.0.1", port)
        sock = link.socket_in(self._worker.netns, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock)

    async def _flush(self) -> None:
        out = self._spdy.to_send()
        if out:
            await self._duplex.send(out)


async def _write(connection: _Connection, event: spdy.Data) -> None:
    await connection.ready.wait()
    writer = connection.writer
    if writer is None:
        return
    with contextlib.suppress(OSError):
        if event.data:
            writer.write(event.data)
            await writer.drain()
        if event.fin and writer.can_write_eof():
            writer.write_eof()
