"""port-forward: SPDY streams in pairs, each pair one TCP connection inside the pod.

    SYN_STREAM streamtype=error  port=80 requestid=0     our answer on it: what went wrong, if anything
    SYN_STREAM streamtype=data   port=80 requestid=0     the bytes, both ways

Source: kubernetes pkg/cri/streaming/portforward/httpstream.go (in staging/src/k8s.io/kubelet).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from linkerd import log, runtime
from linkerd.errors import WireError
from linkerd.kube import spdy
from linkerd.local.node.link import socket_in
from linkerd.local.node.upgrade import Link

WEBSOCKET_PROTOCOLS = ("SPDY/3.1+portforward.k8s.io",)
SPDY_PROTOCOLS = ("portforward.k8s.io",)

_READ_BYTES = 32 * 1024
_QUEUE_MAX = 64
_STREAMS_MAX = 2048

_log = log.logger(__name__)


class Forwarder:
    """One client's session.

    Args:
        link: To the client.
        namespace: Descriptor of the pod's network namespace.
    """

    def __init__(self, link: Link, namespace: int) -> None:
        self._link = link
        self._namespace = namespace
        self._spdy = spdy.Spdy(client=False)
        self._errors: dict[str, int] = {}
        self._queues: dict[int, asyncio.Queue[bytes | None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Serves until the client leaves."""
        try:
            while (data := await self._link.receive()) is not None:
                for event in self._spdy.receive(data):
                    await self._take(event)
                await self._flush()
        except (WireError, ConnectionError) as error:
            _log.debug("port-forward ended", error=error)
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            with contextlib.suppress(ConnectionError):
                await self._link.close()

    async def _take(self, event: spdy.Event) -> None:
        if isinstance(event, spdy.Opened):
            self._open(event)
        elif isinstance(event, spdy.Data):
            queue = self._queues.get(event.stream)
            if queue is not None:
                if event.data:
                    await queue.put(event.data)
                if event.fin:
                    await queue.put(None)
        elif isinstance(event, spdy.Reset):
            queue = self._queues.get(event.stream)
            if queue is not None:
                await queue.put(None)

    def _open(self, event: spdy.Opened) -> None:
        headers = event.headers
        port = headers.get("port", "")
        if not port.isdigit() or not 0 < int(port) < 65536 or len(self._queues) >= _STREAMS_MAX:
            self._spdy.reset(event.stream, 1)
            return
        self._spdy.syn_reply(event.stream)
        request = headers.get("requestid", str(event.stream))
        if headers.get("streamtype") == "error":
            self._errors[request] = event.stream
            return
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE_MAX)
        self._queues[event.stream] = queue
        work = self._connect(event.stream, self._errors.pop(request, 0), int(port), queue)
        runtime.spawn(work, name=f"port-forward {port}", into=self._tasks)

    async def _connect(
        self, stream: int, errors: int, port: int, queue: asyncio.Queue[bytes | None]
    ) -> None:
        problem = b""
        try:
            reader, writer = await self._dial(port)
            try:
                await _both(self._upload(queue, writer), self._download(stream, reader))
            finally:
                writer.close()
        except OSError as error:
            problem = f"failed to connect to localhost:{port} in the pod: {error}".encode()
        finally:
            self._queues.pop(stream, None)
        with contextlib.suppress(ConnectionError):
            if problem:
                self._spdy.reset(stream)
            if errors:
                self._spdy.data(errors, problem, fin=True)
            await self._flush()

    async def _dial(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        inside = socket_in(self._namespace, socket.SOCK_STREAM)
        inside.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(inside, ("127.0.0.1", port))
            return await asyncio.open_connection(sock=inside)
        except OSError:
            inside.close()
            raise

    async def _upload(
        self, queue: asyncio.Queue[bytes | None], writer: asyncio.StreamWriter
    ) -> None:
        while (data := await queue.get()) is not None:
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _download(self, stream: int, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_READ_BYTES):
            self._spdy.data(stream, data)
            await self._flush()
        self._spdy.data(stream, b"", fin=True)
        await self._flush()

    async def _flush(self) -> None:
        out = self._spdy.to_send()
        if out:
            await self._link.send(out)


async def _both(up: Any, down: Any) -> None:
    """Awaits both directions; the end of the download ends the connection."""
    uploading = asyncio.ensure_future(up)
    try:
        await down
    finally:
        uploading.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await uploading
