"""exec and attach: a command's stdio over channels of a WebSocket or streams of SPDY.

    WebSocket v5.channel.k8s.io   first byte of each message is the channel: 0 stdin, 1 stdout,
                                  2 stderr, 3 status, 4 resize; 255 closes the channel that follows
    SPDY v4.channel.k8s.io        a stream for each, named by its `streamtype` header

Source: Kubernetes staging/src/k8s.io/kubelet/pkg/cri/streaming/remotecommand,
staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from linkerd import runtime
from linkerd.errors import LocalError
from linkerd.kube import spdy
from linkerd.local.node import logreader, zygote
from linkerd.local.node.duplex import Duplex, RawSpdy, upgrade
from linkerd.local.node.lifecycle import Container
from linkerd.local.node.parts import Parts
from linkerd.local.node.request import Request
from linkerd.local.node.worker import Worker

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_WEBSOCKET = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_SPDY = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io")
_STREAMS = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": STATUS, "resize": RESIZE}
_CHUNK = 32 * 1024
_DRAIN_S = 1.0
_OPEN_S = 10.0
#: What a slow client of attach may lag behind a terminal.
_WATCHED_BYTES = 1 << 20


class Channels:
    """What `execute` and `attach` see of the client: numbered channels."""

    def __init__(self, duplex: Duplex, wanted: set[int]) -> None:
        self._duplex = duplex
        self._wanted = wanted
        self._spdy = spdy.Spdy(client=False) if isinstance(duplex, RawSpdy) else None
        self._streams: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._early: list[tuple[int, bytes]] = []

    async def open(self) -> None:
        """Waits until the client has opened all streams (SPDY only).

        Raises:
            TimeoutError: it did not.
        """
        if self._spdy is None:
            return
        async with asyncio.timeout(_OPEN_S):
            while not self._wanted <= self._streams.keys():
                data = await self._duplex.receive()
                if data is None:
                    return
                self._early += self._events(data)
                await self._flush()

    async def messages(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yields (channel, bytes) from the client; CLOSE with a zero byte ends stdin."""
        for item in self._early:
            yield item
        while (data := await self._duplex.receive()) is not None:
            if self._spdy is None:
                if data:
                    yield data[0], data[1:]
                continue
            for item in self._events(data):
                yield item
            await self._flush()

    async def send(self, channel: int, data: bytes) -> None:
        """Sends bytes on a channel."""
        if self._spdy is None:
            await self._duplex.send(bytes((channel,)) + data)
        elif channel in self._streams:
            self._spdy.data(self._streams[channel], data)
            await self._flush()

    async def finish(self, status: dict[str, Any]) -> None:
        """Sends how it ended and closes."""
        await self.send(STATUS, msgspec.json.encode(status))
        if self._spdy is not None:
            for stream in self._streams.values():
                self._spdy.data(stream, b"", fin=True)
            await self._flush()
        await self._duplex.close()

    def _events(self, data: bytes) -> list[tuple[int, bytes]]:
        assert self._spdy is not None
        found: list[tuple[int, bytes]] = []
        for event in self._spdy.receive(data):
            if isinstance(event, spdy.Opened):
                self._spdy.syn_reply(event.stream)
                channel = _STREAMS.get(event.headers.get("streamtype", ""), -1)
                self._streams[channel] = event.stream
                self._numbers[event.stream] = channel
            elif isinstance(event, spdy.Data):
                channel = self._numbers.get(event.stream, -1)
                if event.data:
                    found.append((channel, event.data))
                if event.fin:
                    found.append((CLOSE, bytes((channel & 0xFF,))))
        return found

    async def _flush(self) -> None:
        assert self._spdy is not None
        out = self._spdy.to_send()
        if out:
            await self._duplex.send(out)


async def execute(
    node: Parts,
    worker: Worker,
    container: Container,
    request: Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Serves one exec: runs `command` in the container until it ends or the client leaves."""
    tty = request.flag("tty")
    stdin = request.flag("stdin", "input")
    channels = await _channels(request, reader, writer, tty=tty, stdin=stdin)
    stdio = _Stdio(tty=tty, stdin=stdin)
    spec = {**node.join[container.id], "argv": request.query.get("command", []), "tty": tty}
    if tty:
        spec["env"] = {"TERM": "xterm", **spec["env"]}
    try:
        id, done = await node.zygote.execute(container.id, spec, stdio.inner)
    except LocalError as error:
        stdio.close()
        await channels.finish(_failure(error.message))
        return
    tasks: set[asyncio.Task[Any]] = set()
    try:
        stdio.started()
        incoming = asyncio.ensure_future(_feed(channels, stdio.write, stdio.end, stdio.resize))
        outgoing = [
            asyncio.ensure_future(_drain(channels, number, fd)) for number, fd in stdio.outputs
        ]
        tasks |= {incoming, *outgoing}
        await asyncio.wait((incoming, done), return_when=asyncio.FIRST_COMPLETED)
        while not done.done() and incoming.done():
            if incoming.result():
                node.zygote.signal(id, signal.SIGKILL)
            await asyncio.wait((done,))
        await asyncio.wait(outgoing, timeout=_DRAIN_S)
        await channels.finish(_result(done.result()))
    except LocalError as error:
        await channels.finish(_failure(error.message))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stdio.close()
        if not done.done():
            node.zygote.signal(id, signal.SIGKILL)


async def attach(
    node: Parts,
    worker: Worker,
    container: Container,
    request: Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Serves one attach: the container's output from now on, and its stdin if it has one.

    Of a container with `tty`, it is the terminal itself that is shown and typed to.
    """
    stdin = request.flag("stdin", "input")
    channels = await _channels(request, reader, writer, tty=request.flag("tty"), stdin=stdin)
    if container.spec.get("tty"):
        await _attach_terminal(node, container, channels)
        return
    fd = await node.zygote.stdin(container.id) if stdin else -1
    gone = worker.exit_event(container)
    path = worker.folder_of_logs(container.name) / f"{container.attempt}.log"
    options = logreader.Options(follow=True, tail=0)

    async def follow() -> None:
        async for entry in logreader.read(path, options, gone.is_set, gone):
            channel = STDERR if entry.stream == "stderr" else STDOUT
            await channels.send(channel, logreader.render(entry, timestamps=False, fresh=True))

    async def write(data: bytes) -> None:
        if fd >= 0:
            await _write_all(fd, data)

    async def end() -> None:
        nonlocal fd
        if fd >= 0 and container.spec.get("stdinOnce"):
            os.close(fd)
            fd = -1
            other = await node.zygote.stdin(container.id, close=True)
            if other >= 0:
                os.close(other)

    tasks: set[asyncio.Task[Any]] = set()
    runtime.spawn(_ignore(_feed(channels, write, end, lambda _: None)), name="stdin", into=tasks)
    runtime.spawn(follow(), name="output", into=tasks)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if gone.is_set():
            await channels.finish(_result(0))
    finally:
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if fd >= 0:
            os.close(fd)


async def _attach_terminal(node: Parts, container: Container, channels: Channels) -> None:
    terminal = await node.zygote.stdin(container.id)
    out, inner = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with contextlib.suppress(OSError):
        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, _WATCHED_BYTES)
    node.zygote.watch(container.id, inner)
    os.close(inner)

    async def write(data: bytes) -> None:
        if terminal >= 0:
            await _write_all(terminal, data)

    async def end() -> None:
        """A terminal has no end of input: the client's ^D is a character."""

    tasks: set[asyncio.Task[Any]] = set()
    gone = _feed(channels, write, end, lambda data: _resize(terminal, data))
    runtime.spawn(_ignore(gone), name="stdin", into=tasks)
    output = asyncio.ensure_future(_drain(channels, STDOUT, out))
    try:
        await asyncio.wait({*tasks, output}, return_when=asyncio.FIRST_COMPLETED)
        if output.done() and output.exception() is None:
            await channels.finish(_result(0))
    finally:
        output.cancel()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(output, *tasks, return_exceptions=True)
        os.close(out)
        if terminal >= 0:
            os.close(terminal)


async def _ignore(work: Any) -> None:
    if not await work:
        await asyncio.Event().wait()  # stdin ended, the output goes on


async def _channels(
    request: Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    tty: bool,
    stdin: bool,
) -> Channels:
    duplex = await upgrade(request, reader, writer, websocket=_WEBSOCKET, spdy=_SPDY)
    wanted = {STATUS}
    if stdin:
        wanted.add(STDIN)
    if request.flag("stdout", "output"):
        wanted.add(STDOUT)
    if request.flag("stderr", "error") and not tty:
        wanted.add(STDERR)
    if tty:
        wanted.add(RESIZE)
    channels = Channels(duplex, wanted)
    await channels.open()
    return channels


async def _feed(channels: Channels, write: Any, end: Any, resize: Callable[[bytes], None]) -> bool:
    """Passes on what the client sends; returns true once the client is gone."""
    with contextlib.suppress(OSError):
        async for channel, data in channels.messages():
            if channel == STDIN:
                with contextlib.suppress(OSError):
                    await write(data)
            elif channel == CLOSE and data[:1] == b"\x00":
                await end()
            elif channel == RESIZE:
                resize(data)
    return True


class _Stdio:
    """The pipes or the terminal of a command."""

    def __init__(self, *, tty: bool, stdin: bool) -> None:
        self._tty = tty
        self._in = -1
        self._terminal: socket.socket | None = None
        if tty:
            here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            here.setblocking(False)
            self._terminal = here
            self.inner: tuple[int, ...] = (there.detach(),)
            self.outputs: list[tuple[int, int]] = []
        else:
            out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
            source = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            if stdin:
                os.close(source)
                source, self._in = os.pipe2(os.O_CLOEXEC)
            self.inner = (source, out[1], err[1])
            self.outputs = [(STDOUT, out[0]), (STDERR, err[0])]
        self._open = {*self.inner, self._in, *(fd for _, fd in self.outputs)} - {-1}
        for fd in {self._in, *(fd for _, fd in self.outputs)} - {-1}:
            os.set_blocking(fd, False)

    def started(self) -> None:
        """The command has its ends now.

        Raises:
            LocalError: it has sent no terminal.
        """
        for fd in set(self.inner):
            self._drop(fd)
        if self._terminal is None:
            return
        try:
            _, (self._in,) = zygote.receive(self._terminal)
        except (OSError, ValueError) as error:
            raise LocalError("the container made no terminal") from error
        self._open.add(self._in)
        os.set_blocking(self._in, False)
        self.outputs = [(STDOUT, self._in)]

    async def write(self, data: bytes) -> None:
        if self._in >= 0:
            await _write_all(self._in, data)

    async def end(self) -> None:
        if self._tty or self._in < 0:
            return
        self._drop(self._in)
        self._in = -1

    def resize(self, data: bytes) -> None:
        if self._tty:
            _resize(self._in, data)

    def close(self) -> None:
        if self._terminal is not None:
            self._terminal.close()
        for fd in list(self._open):
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)


def _resize(terminal: int, data: bytes) -> None:
    """Gives a terminal the size that the client sent, if it is one."""
    if terminal < 0:
        return
    with contextlib.suppress(msgspec.MsgspecError, KeyError, TypeError, OSError, struct.error):
        size = msgspec.json.decode(data)
        packed = struct.pack("HHHH", size["Height"], size["Width"], 0, 0)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, packed)


async def _drain(channels: Channels, number: int, fd: int) -> None:
    """Sends what a command writes, until its end (which a terminal reports as EIO)."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            await _ready(fd, loop.add_reader, loop.remove_reader)
            continue
        except OSError:
            return
        if not data:
            return
        await channels.send(number, data)


async def _write_all(fd: int, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            await _ready(fd, loop.add_writer, loop.remove_writer)


async def _ready(fd: int, add: Any, remove: Any) -> None:
    event = asyncio.Event()
    add(fd, event.set)
    try:
        await event.wait()
    finally:
        remove(fd)


def _result(code: int) -> dict[str, Any]:
    base: dict[str, Any] = {"metadata": {}}
    if code == 0:
        return {**base, "status": "Success"}
    return {
        **base,
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def _failure(message: str) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "InternalError",
        "code": 500,
    }
