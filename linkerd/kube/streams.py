"""Logs, exec and port-forward of a pod.

    async for chunk in logs(kube, "web", "emojivoto", follow=True): ...
    result = await execute(kube, "web", "emojivoto", ["ls"])
    async with port_forward(kube, "web", "emojivoto", 8084) as (host, port): ...

exec is WebSocket with Kubernetes' channels; port-forward is SPDY/3.1 inside WebSocket, one session
for many connections. Both as kubectl does since 1.31.
Source: kubernetes/client-go tools/remotecommand/websocket.go, tools/portforward/tunneling_*.go.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from linkerd import runtime
from linkerd.errors import Invalid, KubeError, Unavailable, WireError
from linkerd.kube import spdy
from linkerd.kube.client import KubeClient
from linkerd.kube.http import Upgraded
from linkerd.kube.resources import PODS

EXEC_PROTOCOL = "v5.channel.k8s.io"
FORWARD_PROTOCOL = "SPDY/3.1+portforward.k8s.io"

STDIN, STDOUT, STDERR, STATUS, RESIZE = range(5)
"""Channels of `exec`: the first byte of each message."""
STDIN_END = b"\xff\x00"
"""Closes the channel of the input."""
CHUNK_BYTES = 32768
"""Of input that are sent at once."""

_READ_BYTES = 65536
_QUEUE_MAX = 32
_OUTPUT_BYTES_MAX = 64 * 1024 * 1024
_STATUS_BYTES_MAX = 1024 * 1024
_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocket:
    """A client's WebSocket of binary messages."""

    def __init__(self, upgraded: Upgraded) -> None:
        self._reader, self._writer = upgraded.reader, upgraded.writer
        self._frames = Connection(ConnectionType.CLIENT)
        self._pending: list[bytes] = []
        self._held = bytearray()
        self._closed = False
        if upgraded.rest:
            self._take(upgraded.rest)

    async def receive(self) -> bytes | None:
        """Returns the next whole message, None after the peer closed.

        Raises:
            Unavailable: the connection broke.
        """
        while not self._pending:
            if self._closed:
                return None
            try:
                data = await self._reader.read(_READ_BYTES)
            except OSError as error:
                raise Unavailable(f"stream broke: {error}") from None
            if not data:
                self._closed = True
                return None
            self._take(data)
            await self._drain()
        return self._pending.pop(0)

    async def send(self, message: bytes) -> None:
        """Sends one binary message.

        Raises:
            Unavailable: the connection broke.
        """
        if self._closed:
            raise Unavailable("stream is closed")
        self._writer.write(self._frames.send(BytesMessage(message)))
        await self._drain()

    async def close(self) -> None:
        """Says goodbye and closes."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(KubeError):
                self._writer.write(self._frames.send(CloseConnection(code=1000)))
                await self._drain()
        self._writer.close()

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            raise Unavailable(f"stream broke: {error}") from None

    def _take(self, data: bytes) -> None:
        self._frames.receive_data(data)
        for event in self._frames.events():
            if isinstance(event, BytesMessage):
                self._hold(bytes(event.data), event.message_finished)
            elif isinstance(event, TextMessage):
                self._hold(event.data.encode(), event.message_finished)
            elif isinstance(event, Ping):
                self._writer.write(self._frames.send(event.response()))
            elif isinstance(event, CloseConnection):
                if not self._closed:
                    self._writer.write(self._frames.send(event.response()))
                self._closed = True

    def _hold(self, data: bytes, finished: bool) -> None:
        self._held += data
        if len(self._held) > _OUTPUT_BYTES_MAX:
            raise Unavailable(f"a message exceeds {_OUTPUT_BYTES_MAX} bytes")
        if finished:
            self._pending.append(bytes(self._held))
            self._held.clear()


async def websocket(
    kube: KubeClient, path: str, params: Iterable[tuple[str, str]], protocol: str
) -> WebSocket:
    """Opens a WebSocket with one subprotocol; the caller closes it.

    Raises:
        KubeError: the server refused, or chose another subprotocol.
    """
    key = base64.b64encode(os.urandom(16)).decode()
    upgraded = await kube.upgrade(
        path,
        list(params),
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Protocol": protocol,
        },
    )
    expected = base64.b64encode(
        hashlib.sha1(key.encode() + _ACCEPT_GUID, usedforsecurity=False).digest()
    ).decode()
    if upgraded.headers.get("sec-websocket-accept") != expected:
        upgraded.writer.close()
        raise Unavailable(f"{path}: the server's WebSocket handshake is wrong")
    chosen = upgraded.headers.get("sec-websocket-protocol")
    if chosen != protocol:
        upgraded.writer.close()
        raise Invalid(
            f"{path}: the server chose subprotocol {chosen!r}, not {protocol}",
            hint="Kubernetes 1.31 or later is needed",
        )
    return WebSocket(upgraded)


@contextlib.asynccontextmanager
async def opened(
    kube: KubeClient, path: str, params: Mapping[str, Any], subresource: str
) -> AsyncIterator[WebSocket]:
    """Lends the raw WebSocket of `exec`, `attach` or `portforward`."""
    pairs = [
        (key, str(each))
        for key, value in params.items()
        for each in (value if isinstance(value, list | tuple) else [value])
    ]
    protocol = FORWARD_PROTOCOL if subresource == "portforward" else EXEC_PROTOCOL
    socket = await websocket(kube, path, pairs, protocol)
    try:
        yield socket
    finally:
        await socket.close()


async def logs(
    kube: KubeClient,
    name: str,
    namespace: str,
    *,
    container: str = "",
    follow: bool = False,
    tail: int | None = None,
    since_s: int | None = None,
    timestamps: bool = False,
    previous: bool = False,
) -> AsyncIterator[bytes]:
    """Yields a container's log as it comes, in chunks of any size.

    Raises:
        KubeError: the server refused or the connection broke.
    """
    params: dict[str, Any] = {
        "container": container,
        "follow": "true" if follow else "",
        "tailLines": "" if tail is None else str(tail),
        "sinceSeconds": "" if since_s is None else str(since_s),
        "timestamps": "true" if timestamps else "",
        "previous": "true" if previous else "",
    }
    path = PODS.path(namespace, name, "log")
    async with kube.open("GET", path, {k: v for k, v in params.items() if v}) as stream:
        async for chunk in stream.chunks():
            yield chunk


@dataclass(frozen=True, slots=True)
class Executed:
    """What a command in a container wrote and how it ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


async def execute(
    kube: KubeClient,
    name: str,
    namespace: str,
    command: Sequence[str],
    *,
    container: str = "",
    stdin: bytes | None = None,
    timeout_s: float = 60.0,
) -> Executed:
    """Runs a command in a container to its end.

    Raises:
        KubeError: it could not be started, or gave no end within `timeout_s`.
    """
    out = {STDOUT: bytearray(), STDERR: bytearray()}

    def keep(channel: int, data: bytes) -> None:
        if channel in out:
            out[channel] += data
        if sum(map(len, out.values())) > _OUTPUT_BYTES_MAX:
            raise Unavailable(f"output of exec in {name} exceeds {_OUTPUT_BYTES_MAX} bytes")

    chunks = None
    if stdin is not None:
        chunks = (stdin[at : at + CHUNK_BYTES] for at in range(0, len(stdin), CHUNK_BYTES))
    try:
        async with asyncio.timeout(timeout_s):
            code = await run(kube, name, namespace, command, keep, container, chunks)
    except TimeoutError:
        raise Unavailable(f"exec in {namespace}/{name} did not end in {timeout_s:g}s") from None
    return Executed(code, bytes(out[STDOUT]), bytes(out[STDERR]))


async def run(
    kube: KubeClient,
    name: str,
    namespace: str,
    command: Sequence[str],
    write: Callable[[int, bytes], object],
    container: str = "",
    stdin: Iterable[bytes] | None = None,
) -> int:
    """Runs a command in a container to its end; returns its exit code.

    Args:
        kube: The cluster.
        name: Of the pod.
        namespace: Of the pod.
        command: Words.
        write: Is given what comes on a channel, as it comes.
        container: Empty for the pod's main one.
        stdin: Its input, of which nothing is answered before all is sent; None for no input.

    Raises:
        KubeError: it could not be started, or the connection broke.
    """
    params: dict[str, Any] = {"command": command, "stdout": "true", "stderr": "true"}
    if container:
        params["container"] = container
    if stdin is not None:
        params["stdin"] = "true"
    status = b""
    async with opened(kube, PODS.path(namespace, name, "exec"), params, "exec") as socket:
        if stdin is not None:
            for chunk in stdin:
                await socket.send(bytes([STDIN]) + chunk)
            await socket.send(STDIN_END)
        while (message := await socket.receive()) is not None:
            if message[:1] == bytes([STATUS]):
                status += message[1:]
                if len(status) > _STATUS_BYTES_MAX:
                    raise Unavailable(f"status of exec in {name} exceeds {_STATUS_BYTES_MAX} bytes")
            elif message:
                write(message[0], message[1:])
    return exit_code(status, name)


def exit_code(status: bytes, name: str) -> int:
    """Returns the exit code that the status channel of `exec` told.

    Raises:
        Unavailable: it tells none: the command was not run.
    """
    try:
        answer: Mapping[str, Any] = json.loads(status or b"{}")
    except ValueError:
        answer = {}
    if answer.get("status") == "Success":
        return 0
    for cause in (answer.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode" and str(cause.get("message")).isdigit():
            return int(cause["message"])
    raise Unavailable(f"exec in {name} failed: {answer.get('message') or 'no status'}")


class ForwardedStream:
    """One connection into a pod; made by `PortForward.connect`."""

    def __init__(self, session: _Session, stream: int, error: int) -> None:
        self._session = session
        self.stream, self.error = stream, error
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE_MAX)
        self._ended = False
        self.closed = False
        self.message = b""

    async def read(self) -> bytes:
        """Returns the next bytes, empty at the end.

        Raises:
            Unavailable: the pod refused the connection or the session broke.
        """
        if self._ended:
            return b""
        gone = self._queue.empty() and not self._session.alive
        data = None if gone else await self._queue.get()
        if data is None:
            self._ended = True
            if self.message:
                raise Unavailable(self.message.decode("utf-8", "replace").strip())
            return b""
        return data

    async def write(self, data: bytes) -> None:
        """Sends bytes.

        Raises:
            Unavailable: the session broke.
        """
        await self._session.send(self.stream, data)

    async def write_eof(self) -> None:
        """Ends our half; the pod may still answer."""
        await self._session.send(self.stream, b"", fin=True)

    async def close(self) -> None:
        """Breaks the connection off."""
        if not self.closed:
            self.closed = True
            # The session may be waiting for room: nobody else would ever make it.
            while not self._queue.empty():
                self._queue.get_nowait()
            await self._session.forget(self)

    async def put(self, data: bytes | None) -> None:
        """Takes what the pod sent; None is its end. Called by the session."""
        if not self.closed:
            await self._queue.put(data)


class _Session:
    """One WebSocket that carries many connections."""

    def __init__(self, socket: WebSocket, port: int) -> None:
        self._socket = socket
        self._port = port
        self._spdy = spdy.Spdy(client=True)
        self._streams: dict[int, ForwardedStream] = {}
        self._requests = 0
        self.alive = True

    async def connect(self) -> ForwardedStream:
        headers = {"port": str(self._port), "requestid": str(self._requests)}
        self._requests += 1
        error = self._spdy.syn_stream({**headers, "streamtype": "error"})
        self._spdy.data(error, b"", fin=True)
        data = self._spdy.syn_stream({**headers, "streamtype": "data"})
        stream = ForwardedStream(self, data, error)
        self._streams[error] = self._streams[data] = stream
        await self._flush()
        return stream

    async def send(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        if not self.alive:
            raise Unavailable("port-forward session is closed")
        self._spdy.data(stream, data, fin=fin)
        await self._flush()

    async def forget(self, stream: ForwardedStream) -> None:
        self._streams.pop(stream.error, None)
        if self._streams.pop(stream.stream, None) is not None and self.alive:
            self._spdy.reset(stream.stream)
            with contextlib.suppress(KubeError):
                await self._flush()

    async def run(self) -> None:
        try:
            while (message := await self._socket.receive()) is not None:
                for event in self._spdy.receive(message):
                    await self._dispatch(event)
                await self._flush()
        except (KubeError, WireError) as error:
            for stream in self._streams.values():
                stream.message = stream.message or error.message.encode()
        finally:
            self.alive = False
            for stream in set(self._streams.values()):
                with contextlib.suppress(asyncio.QueueFull):
                    stream._queue.put_nowait(None)
            await self._socket.close()

    async def _dispatch(self, event: spdy.Event) -> None:
        if not isinstance(event, spdy.Data | spdy.Reset):
            return
        stream = self._streams.get(event.stream)
        if stream is None:
            return
        if event.stream == stream.error:
            if isinstance(event, spdy.Data):
                stream.message += event.data[: 4096 - len(stream.message)]
            return
        if isinstance(event, spdy.Data) and event.data:
            await stream.put(event.data)
        if isinstance(event, spdy.Reset) or event.fin:
            self._streams.pop(event.stream, None)
            await stream.put(None)

    async def _flush(self) -> None:
        out = self._spdy.to_send()
        if out:
            await self._socket.send(out)


class PortForward:
    """Connections to one port of one pod; an async context manager.

    The session is opened with the first connection and again after it broke.
    """

    def __init__(self, kube: KubeClient, name: str, namespace: str, port: int) -> None:
        self._kube = kube
        self._name, self._namespace, self._port = name, namespace, port
        self._session: _Session | None = None
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def connect(self) -> ForwardedStream:
        """Opens one connection into the pod.

        Raises:
            KubeError: the server refused.
        """
        return await (await self.open()).connect()

    async def open(self) -> _Session:
        """Makes sure that there is a session.

        Raises:
            KubeError: the server refused.
        """
        async with self._opening:
            if self._session is None or not self._session.alive:
                path = PODS.path(self._namespace, self._name, "portforward")
                socket = await websocket(self._kube, path, [], FORWARD_PROTOCOL)
                self._session = _Session(socket, self._port)
                runtime.spawn(self._session.run(), name="port-forward", into=self._tasks)
            return self._session

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries a local connection in a task of ours, which leaving the context ends quietly."""
        runtime.spawn(self.serve(reader, writer), name="forwarded connection", into=self._tasks)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries one local connection until either side ends it."""
        try:
            stream = await self.connect()
        except KubeError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_upload(reader, stream))
                both.create_task(_download(stream, writer))
        except* (KubeError, OSError):
            pass  # either side went away: the other one is closed too
        finally:
            await stream.close()
            writer.close()


async def _upload(reader: asyncio.StreamReader, stream: ForwardedStream) -> None:
    while data := await reader.read(32768):
        await stream.write(data)
    await stream.write_eof()


async def _download(stream: ForwardedStream, writer: asyncio.StreamWriter) -> None:
    while data := await stream.read():
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


@contextlib.asynccontextmanager
async def port_forward(
    kube: KubeClient,
    name: str,
    namespace: str,
    port: int,
    *,
    host: str = "127.0.0.1",
    local_port: int = 0,
) -> AsyncIterator[tuple[str, int]]:
    """Listens locally and carries connections to a pod's port; yields the local host and port.

    Args:
        kube: The cluster.
        name: The pod.
        namespace: Its namespace.
        port: The pod's port.
        host: Local address.
        local_port: 0 picks one.

    Raises:
        KubeError: the server refused; asked before listening.
        OSError: the local port cannot be bound.
    """
    async with PortForward(kube, name, namespace, port) as forward:
        await forward.open()
        server = await asyncio.start_server(forward.accept, host, local_port)
        try:
            yield host, server.sockets[0].getsockname()[1]
        finally:
            server.close()
