"""The node's side of the zygote's socket: requests out, events in; reconnects by itself.

What a reconnect lists is told to `on_listed`; whatever runs goes on running meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from linkerd import log
from linkerd.errors import LocalError
from linkerd.local.node import zygote

#: Requests that wait for a busy zygote.
REQUESTS_QUEUED_MAX = 4096
_CONNECT_RETRY_S = 0.05

Message = dict[str, Any]
_log = log.logger(__name__)


@dataclass
class Listing:
    """What the zygote holds: pods' data with their network namespaces, and processes."""

    pods: dict[str, tuple[Message, int]] = field(default_factory=dict)
    containers: list[Message] = field(default_factory=list)


class Lost(LocalError):
    """The zygote went away; its containers are gone with it."""


class ZygoteClient:
    """Requests to the zygote; one per node."""

    def __init__(
        self, path: str, on_listed: Callable[[Listing], None], on_exit: Callable[[Message], None]
    ) -> None:
        self._path = path
        self._on_listed = on_listed
        self._on_exit = on_exit
        self._socket: socket.socket | None = None
        self._out: deque[tuple[Message, list[int]]] = deque()
        self._launches: dict[str, asyncio.Future[Message]] = {}
        self._exits: dict[str, asyncio.Future[int]] = {}
        self._stdins: dict[str, asyncio.Future[int]] = {}
        self._listing = Listing()
        self._closed = asyncio.Event()
        self._execs = itertools.count()

    async def run(self) -> None:
        """Connects and dispatches events until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection = zygote.connect(self._path)
            except OSError:
                await asyncio.sleep(_CONNECT_RETRY_S)
                continue
            connection.setblocking(False)
            self._socket = connection
            self._listing = Listing()
            self._closed.clear()
            loop.add_reader(connection.fileno(), self._readable)
            self._send({"op": "list"})
            try:
                await self._closed.wait()
            finally:
                loop.remove_reader(connection.fileno())
                loop.remove_writer(connection.fileno())
                connection.close()
                self._socket = None
                self._fail_all()

    async def start(self, spec: Message) -> Message:
        """Starts a container; returns its `started` event.

        Raises:
            LocalError: it could not be started; the text says why.
        """
        return await self._launch(spec["id"], {"op": "start", **spec}, [])

    async def execute(
        self, container: str, spec: Message, fds: tuple[int, ...]
    ) -> tuple[str, asyncio.Future[int]]:
        """Starts a command in a container with the given stdio; with `tty` in `spec` it is given a
        terminal, whose descriptor is sent to the one socket in `fds` before this returns.

        Returns:
            Its id, for `signal`, and a future of its exit code.

        Raises:
            LocalError: it could not be started; the text says why.
        """
        id = f"exec-{os.getpid()}-{next(self._execs)}"
        done = self._exits[id] = asyncio.get_running_loop().create_future()
        try:
            await self._launch(id, {"op": "exec", **spec, "id": id, "container": container}, [*fds])
        except BaseException:
            self._exits.pop(id, None)
            raise
        return id, done  # its end may have been told together with its start

    def hold(self, pod: str, namespace: int, data: Message) -> None:
        """Lets the zygote keep a pod's network namespace alive while the node restarts."""
        self._send({"op": "hold", "pod": pod, "data": data}, [os.dup(namespace)])

    def release(self, pod: str) -> None:
        """Forgets a pod's namespace and its memory volumes."""
        self._send({"op": "release", "pod": pod})

    def signal(self, id: str, number: int) -> None:
        """Sends a signal to a container's first process; nothing happens if it ended."""
        self._send({"op": "signal", "id": id, "signal": number})

    def forget(self, id: str) -> None:
        """Drops what the zygote remembers of a container that ended."""
        self._send({"op": "forget", "id": id})

    async def stdin(self, id: str, *, close: bool = False) -> int:
        """Returns a descriptor to write to a container's stdin, -1 if it has none."""
        if id not in self._stdins:
            self._stdins[id] = asyncio.get_running_loop().create_future()
            self._send({"op": "stdin", "id": id, "close": close})
        return await self._stdins[id]

    def watch(self, id: str, fd: int) -> None:
        """Copies what a container's terminal shows to a pipe from now on, until it ends."""
        self._send({"op": "watch", "id": id}, [os.dup(fd)])

    async def _launch(self, id: str, message: Message, fds: list[int]) -> Message:
        size = len(msgspec.json.encode(message))
        if size > zygote.PACKET_BYTES_MAX:
            raise LocalError(f"environment and arguments of {size} bytes are too large")
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._launches[id] = future
        try:
            self._send(message, [os.dup(fd) for fd in fds])
            return await future
        finally:
            self._launches.pop(id, None)

    def _send(self, message: Message, fds: list[int] | None = None) -> None:
        if self._socket is None or len(self._out) >= REQUESTS_QUEUED_MAX:
            for fd in fds or ():
                os.close(fd)
            if message["op"] in ("start", "exec"):
                raise Lost("the zygote is not there")
            return
        self._out.append((message, fds or []))
        self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._out and self._socket is not None:
            message, fds = self._out[0]
            try:
                zygote.send(self._socket, message, fds)
            except BlockingIOError:
                loop.add_writer(self._socket.fileno(), self._flush)
                return
            except OSError:
                self._closed.set()
                return
            self._out.popleft()
            for fd in fds:
                os.close(fd)
        if self._socket is not None:
            loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        while self._socket is not None:
            try:
                data, fds = zygote.receive(self._socket)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._closed.set()
                asyncio.get_running_loop().remove_reader(self._socket.fileno())
                return
            self._dispatch(msgspec.json.decode(data), fds)

    def _dispatch(self, event: Message, fds: list[int]) -> None:
        match event["event"]:
            case "pod":
                self._listing.pods[event["pod"]] = (event["data"], fds.pop())
            case "container":
                self._listing.containers.append(event)
            case "listed":
                listing, self._listing = self._listing, Listing()
                self._on_listed(listing)
            case "started":
                _resolve(self._launches.get(event["id"]), event)
            case "failed":
                future = self._launches.get(event["id"])
                if future is not None and not future.done():
                    future.set_exception(LocalError(event["error"]))
            case "exited":
                done = self._exits.pop(event["id"], None)
                if done is not None:
                    _resolve(done, event["code"])
                else:
                    self._on_exit(event)
            case "stdin":
                _resolve(self._stdins.pop(event["id"], None), fds.pop() if fds else -1)
            case _:
                _log.warn("zygote refused a request", error=event.get("error"))
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _fail_all(self) -> None:
        while self._out:
            for fd in self._out.popleft()[1]:
                os.close(fd)
        waiting: list[asyncio.Future[Any]] = [
            *self._launches.values(),
            *self._exits.values(),
            *self._stdins.values(),
        ]
        self._launches.clear()
        self._exits.clear()
        self._stdins.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(Lost("the zygote went away"))


def _resolve(future: asyncio.Future[Any] | None, value: Any) -> None:
    if future is not None and not future.done():
        future.set_result(value)
