"""A command in a container, connected to this terminal: bytes both ways, size, exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator

from linkerd.kube import streams
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import PODS


async def attach(
    kube: KubeClient,
    name: str,
    namespace: str,
    command: list[str],
    *,
    container: str,
    stdin: bool,
    tty: bool,
) -> int:
    """Runs the command to its end, its output copied as it comes; returns its exit code.

    Raises:
        KubeError: it could not be started, or the connection broke.
    """
    params = {
        "command": command,
        "container": container,
        "stdin": "true" if stdin else "false",
        "stdout": "true",
        "stderr": "false" if tty else "true",
        "tty": "true" if tty else "false",
    }
    path = PODS.path(namespace, name, "exec")
    status = b""
    async with streams.opened(kube, path, params, "exec") as socket:
        with _raw(tty):
            tasks = [asyncio.create_task(_send_input(socket))] if stdin else []
            if tty:
                tasks.append(asyncio.create_task(_send_sizes(socket)))
            try:
                while (message := await socket.receive()) is not None:
                    if message[:1] == bytes([streams.STATUS]):
                        status += message[1:]
                    elif message:
                        _show(message[0], message[1:])
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    return streams.exit_code(status, name)


def _show(channel: int, data: bytes) -> None:
    output = sys.stderr if channel == streams.STDERR else sys.stdout
    output.buffer.write(data)
    output.buffer.flush()


async def _send_input(socket: streams.WebSocket) -> None:
    async for data in _input():
        await socket.send(bytes([streams.STDIN]) + data)
    await socket.send(streams.STDIN_END)


async def _input() -> AsyncIterator[bytes]:
    """Yields what stdin has as it comes; a terminal's mode is left as it is."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(0, readable.set)
    except PermissionError:  # a file: always readable, and the kernel does not watch it
        readable.set()
    try:
        while True:
            await readable.wait()
            data = os.read(0, streams.CHUNK_BYTES)
            if not data:
                return
            if loop.remove_reader(0):
                readable.clear()
                loop.add_reader(0, readable.set)
            yield data
    finally:
        loop.remove_reader(0)


async def _send_sizes(socket: streams.WebSocket) -> None:
    changed = asyncio.Event()
    changed.set()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while True:
            await changed.wait()
            changed.clear()
            size = shutil.get_terminal_size()
            text = json.dumps({"Width": size.columns, "Height": size.lines})
            await socket.send(bytes([streams.RESIZE]) + text.encode())
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


@contextlib.contextmanager
def _raw(wanted: bool) -> Iterator[None]:
    """Passes each key on as it is pressed, while inside."""
    if not wanted:
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead counts
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
