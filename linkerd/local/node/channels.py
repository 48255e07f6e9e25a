"""exec and attach: a process's stdio over WebSocket channels or SPDY streams.

    WebSocket   one message = one byte of channel + data: 0 stdin, 1 stdout, 2 stderr, 3 status, 4 resize
    SPDY        one stream each, named by the header `streamtype`

Source: kubernetes client-go tools/remotecommand (v4, v5); kubelet pkg/cri/streaming/remotecommand.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import struct
import termios
from collections.abc import Callable
from typing import Any, Protocol

from linkerd.kube import spdy
from linkerd.local.node.upgrade import Link, Refused

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
WEBSOCKET_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
SPDY_PROTOCOLS = ("v4.channel.k8s.io",)

_READ_BYTES = 32 * 1024
_STREAMS = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": STATUS, "resize": RESIZE}
_STREAMS_OPEN_S = 10.0


class Channels(Protocol):
    """What a process's stdio is joined to."""

    async def send(self, channel: int, data: bytes) -> None:
        """Sends output or the status."""

    async def receive(self) -> tuple[int, bytes] | None:
        """Returns a channel's next bytes; empty bytes end it; None when the client left."""

    async def close(self) -> None:
        """Ends all channels."""


class MessageChannels:
    """Channels over WebSocket messages."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def send(self, channel: int, data: bytes) -> None:
        """Sends one message."""
        await self._link.send(bytes((channel,)) + data)

    async def receive(self) -> tuple[int, bytes] | None:
        """Returns the next message's channel and data."""
        while (message := await self._link.receive()) is not None:
            if message[:1] == bytes((CLOSE,)):
                return message[1] if len(message) > 1 else STDIN, b""
            if len(message) > 1:
                return message[0], message[1:]
        return None

    async def close(self) -> None:
        """Sends the closing frame."""
        await self._link.close()


class StreamChannels:
    """Channels over SPDY streams."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._spdy = spdy.Spdy(client=False)
        self._channel_of: dict[int, int] = {}
        self._stream_of: dict[int, int] = {}
        self._waiting: list[tuple[int, bytes]] = []

    async def open(self, wanted: set[int]) -> None:
        """Waits until the client opened the streams it needs.

        Raises:
            Refused: it did not, in time.
        """
        try:
            async with asyncio.timeout(_STREAMS_OPEN_S):
                while not wanted <= set(self._stream_of):
                    if not await self._more():
                        raise Refused(400, "the client left before it opened its streams")
        except TimeoutError:
            raise Refused(408, "the client did not open its streams") from None

    async def send(self, channel: int, data: bytes) -> None:
        """Sends data on a channel's stream."""
        stream = self._stream_of.get(channel)
        if stream is not None:
            self._spdy.data(stream, data)
            await self._flush()

    async def receive(self) -> tuple[int, bytes] | None:
        """Returns the next data of a stream."""
        while not self._waiting:
            if not await self._more():
                return None
        return self._waiting.pop(0)

    async def close(self) -> None:
        """Ends every stream."""
        for channel in (STDOUT, STDERR, STATUS):
            if channel in self._stream_of:
                self._spdy.data(self._stream_of[channel], b"", fin=True)
        await self._flush()

    async def _more(self) -> bool:
        data = await self._link.receive()
        if data is None:
            return False
        for event in self._spdy.receive(data):
            if isinstance(event, spdy.Opened):
                channel = _STREAMS.get(event.headers.get("streamtype", ""))
                if channel is None:
                    self._spdy.reset(event.stream)
                    continue
                self._channel_of[event.stream] = channel
                self._stream_of[channel] = event.stream
                self._spdy.syn_reply(event.stream)
            elif isinstance(event, spdy.Data):
                channel = self._channel_of.get(event.stream, STATUS)
                if event.data:
                    self._waiting.append((channel, event.data))
                if event.fin:
                    self._waiting.append((channel, b""))
        await self._flush()
        return True

    async def _flush(self) -> None:
        out = self._spdy.to_send()
        if out:
            await self._link.send(out)


class Stdio:
    """The node's ends and the process's ends of three pipes, or of one terminal."""

    def __init__(self, *, tty: bool, stdin: bool) -> None:
        self.tty = tty
        self.theirs: tuple[int, ...]
        if tty:
            self._master, slave = os.openpty()
            self.theirs = (slave, os.dup(slave), os.dup(slave))
            self.input = os.dup(self._master) if stdin else -1
            self.outputs = {STDOUT: self._master}
        else:
            out, their_out = os.pipe2(os.O_CLOEXEC)
            error, their_error = os.pipe2(os.O_CLOEXEC)
            if stdin:
                their_in, self.input = os.pipe2(os.O_CLOEXEC)
            else:
                their_in, self.input = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
            self.theirs = (their_in, their_out, their_error)
            self.outputs = {STDOUT: out, STDERR: error}
        for fd in (self.input, *self.outputs.values()):
            if fd >= 0:
                os.set_blocking(fd, False)

    def given(self) -> None:
        """Closes the process's ends here, after it has them."""
        for fd in self.theirs:
            os.close(fd)
        self.theirs = ()

    def resize(self, columns: int, rows: int) -> None:
        """Tells the terminal its size."""
        if self.tty:
            size = struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def close_input(self) -> None:
        """Ends the process's stdin."""
        if self.input >= 0:
            if self.tty:
                # A terminal has no end of file but this character.
                with contextlib.suppress(OSError):
                    os.write(self.input, b"\x04")
            os.close(self.input)
            self.input = -1

    def close(self) -> None:
        """Closes everything."""
        for fd in (self.input, *self.outputs.values(), *self.theirs):
            if fd >= 0:
                os.close(fd)
        self.input, self.outputs, self.theirs = -1, {}, ()


async def join(
    channels: Channels,
    stdio: Stdio,
    exit_code: asyncio.Future[int],
    kill: Callable[[], None],
) -> None:
    """Carries stdio until the process ends, then sends its status.

    Args:
        channels: The client.
        stdio: The process's.
        exit_code: Resolves when the process ended.
        kill: Called when the client leaves first.
    """
    outputs = [
        asyncio.ensure_future(_pump(fd, channel, channels)) for channel, fd in stdio.outputs.items()
    ]
    inputs = asyncio.ensure_future(_feed(channels, stdio))
    finished = asyncio.ensure_future(_finish(outputs, exit_code))
    try:
        await asyncio.wait({inputs, finished}, return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            kill()
        code = await finished
        await channels.send(STATUS, json.dumps(status_of(code)).encode())
        await channels.close()
    finally:
        for task in (inputs, finished, *outputs):
            task.cancel()
        await asyncio.gather(inputs, finished, *outputs, return_exceptions=True)


async def _finish(outputs: list[asyncio.Task[None]], exit_code: asyncio.Future[int]) -> int:
    code = await exit_code
    # A child that the process left behind may hold the pipes open: do not wait for it for ever.
    await asyncio.wait(outputs, timeout=1.0)
    return code


async def _pump(fd: int, channel: int, channels: Channels) -> None:
    while data := await read_fd(fd):
        await channels.send(channel, data)


async def _feed(channels: Channels, stdio: Stdio) -> None:
    while (received := await channels.receive()) is not None:
        channel, data = received
        if channel == STDIN and stdio.input >= 0:
            if not data:
                stdio.close_input()
                continue
            try:
                await write_fd(stdio.input, data)
            except OSError:
                stdio.close_input()
        elif channel == RESIZE and data:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                size = json.loads(data)
                stdio.resize(int(size["Width"]), int(size["Height"]))


def status_of(code: int) -> dict[str, Any]:
    """Returns the Status object that tells a client how its command ended."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure(message: str) -> dict[str, Any]:
    """Returns the Status object for a command that could not be started."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "InternalError",
        "code": 500,
    }


async def read_fd(fd: int) -> bytes:
    """Returns the next bytes of a non-blocking descriptor; none at its end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, _READ_BYTES)
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(fd, _resolve, ready)
            try:
                await ready
            finally:
                loop.remove_reader(fd)
        except OSError:
            # EIO: the last process of a terminal is gone.
            return b""


async def write_fd(fd: int, data: bytes) -> None:
    """Writes all of `data` to a non-blocking descriptor.

    Raises:
        OSError: nobody reads it any more.
    """
    loop = asyncio.get_running_loop()
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_writer(fd, _resolve, ready)
            try:
                await ready
            finally:
                loop.remove_writer(fd)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
