"""The kubelet's API on `<state>/node.sock`: logs, exec, attach, port-forward.

    GET /containerLogs/{namespace}/{pod}/{container}
    GET|POST /exec/… /attach/… /portForward/{namespace}/{pod}     WebSocket or SPDY

Only the API server can reach the socket; it has authorized the request.
Source: Kubernetes pkg/kubelet/server/server.go (paths, parameters, texts).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from linkerd import log, runtime
from linkerd.errors import WireError
from linkerd.local.node import logreader
from linkerd.local.node.lifecycle import Container
from linkerd.local.node.logfile import stamp
from linkerd.local.node.parts import Parts
from linkerd.local.node.request import Refused, Request, parse
from linkerd.local.node.worker import Worker

_HEAD_BYTES_MAX = 64 * 1024
_HEAD_TIMEOUT_S = 10.0
_log = log.logger(__name__)


class Server:
    """Serves one node, whose pods `worker_of` finds by namespace and name."""

    def __init__(self, node: Parts, worker_of: Callable[[str, str], Worker | None]) -> None:
        self._node = node
        self._worker_of = worker_of
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self) -> None:
        """Serves until cancelled."""
        path = self._node.paths.node_sock
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
        short = f"/proc/self/fd/{folder}/{path.name}"  # a socket's name ends at 107 bytes
        try:
            server = await asyncio.start_unix_server(self._connected, short, limit=_HEAD_BYTES_MAX)
            path.chmod(0o600)
            async with server:
                await server.serve_forever()
        finally:
            os.close(folder)
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        runtime.spawn(self._accept(reader, writer), name="node request", into=self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                raw = await reader.readuntil(b"\r\n\r\n")
            request = parse(raw)
            try:
                await self._route(request, reader, writer)
            except Refused as error:
                writer.write(error.response())
                await writer.drain()
        except (
            OSError,
            TimeoutError,
            WireError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ) as error:
            _log.debug("request broken off", error=repr(error))
        finally:
            writer.close()

    async def _route(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        match [unquote(part) for part in request.path.strip("/").split("/")]:
            case ["containerLogs", namespace, pod, container]:
                worker, found = self._find(namespace, pod, container)
                await self._logs(request, worker, found, writer)
            case ["exec" | "attach" as what, namespace, pod, container]:
                worker, found = self._find(namespace, pod, container)
                if not found.running:
                    raise Refused(
                        400, "BadRequest", f"container {container} in pod {pod} is not running"
                    )
                from linkerd.local.node import remote  # late: a node may never need it

                serve = remote.execute if what == "exec" else remote.attach
                await serve(self._node, worker, found, request, reader, writer)
            case ["portForward", namespace, pod]:
                worker = self._worker(namespace, pod)
                if worker.netns < 0 and not worker.pod["spec"].get("hostNetwork"):
                    raise Refused(400, "BadRequest", f"pod {pod} is not running")
                from linkerd.local.node import forward

                await forward.serve(worker, request, reader, writer)
            case ["healthz"]:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
            case _:
                raise Refused(404, "NotFound", f"no such path {request.path}")

    def _worker(self, namespace: str, pod: str) -> Worker:
        worker = self._worker_of(namespace, pod)
        if worker is None:
            raise Refused(404, "NotFound", f'pod "{pod}" does not run on this node')
        return worker

    def _find(self, namespace: str, pod: str, container: str) -> tuple[Worker, Container]:
        worker = self._worker(namespace, pod)
        if container not in worker.containers:
            text = f"container {container} is not valid for pod {pod}"
            raise Refused(400, "BadRequest", text)
        return worker, worker.containers[container]

    async def _logs(
        self, request: Request, worker: Worker, container: Container, writer: asyncio.StreamWriter
    ) -> None:
        options = log_options(request, time.time())
        previous = request.flag("previous")
        attempt = container.attempt - 1 if previous else container.attempt
        path = worker.folder_of_logs(container.name) / f"{attempt}.log"
        if not path.exists():
            if previous:
                text = f'previous terminated container "{container.name}" in pod "{worker.name}" not found'
            else:
                why = container.waiting or "ContainerCreating"
                text = f'container "{container.name}" in pod "{worker.name}" is waiting to start: {why}'
            raise Refused(400, "BadRequest", text)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\n"
        )
        await writer.drain()
        gone = worker.exit_event(container)
        entries = logreader.read(path, options, lambda: previous or gone.is_set(), gone)
        left = options.limit_bytes
        fresh = True
        async with contextlib.aclosing(entries):  # type: ignore[type-var]
            async for entry in entries:
                text_bytes = logreader.render(entry, timestamps=options.timestamps, fresh=fresh)
                fresh = entry.whole
                if left is not None:
                    text_bytes = text_bytes[:left]
                    left -= len(text_bytes)
                if text_bytes:
                    writer.write(b"%x\r\n%b\r\n" % (len(text_bytes), text_bytes))
                    await writer.drain()
                if left == 0:
                    break
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def log_options(request: Request, now: float) -> logreader.Options:
    """Returns what a log request asks for.

    Raises:
        Refused: a number is none.
    """
    numbers: dict[str, int | None] = {}
    for name in ("tailLines", "sinceSeconds", "limitBytes"):
        text = request.first(name)
        try:
            numbers[name] = int(text) if text else None
        except ValueError:
            raise Refused(400, "BadRequest", f"{name}={text} is no number") from None
    since = request.first("sinceTime")
    seconds = numbers["sinceSeconds"]
    if seconds is not None:
        since = stamp(int((now - seconds) * 1e9))
    return logreader.Options(
        follow=request.flag("follow"),
        tail=numbers["tailLines"],
        since=since,
        timestamps=request.flag("timestamps"),
        limit_bytes=numbers["limitBytes"],
    )
