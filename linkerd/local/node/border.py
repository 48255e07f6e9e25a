"""TCP across the border between the node's network namespace and the host's.

    out   pod ── any address outside of the cluster ── (NAT) ── EGRESS_PORT ── socket of the host
    in    host's 127.0.0.1:<nodePort> ── NODE_IP:<nodePort> ── (NAT) ── endpoint

The two networks share no link, so bytes are copied here. `HOST_IP` (`host.linkerd.internal`) leads
to the host's loopback. A connection that the host cannot make is reset, after it seemed to open.
UDP does not pass, except for DNS (`resolver`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from linkerd import log, runtime
from linkerd.local.node.outside import Outside
from linkerd.local.paths import HOST_IP, NODE_IP

#: Where NAT sends what pods open to the outside; on the node's address.
EGRESS_PORT = 6444
#: Connections across the border at one time; more are reset.
CONNECTIONS_MAX = 4096
_CONNECT_S = 30.0
#: Node ports that another program has are tried again after this time.
_RETRY_S = 5.0
_CHUNK = 64 * 1024
_SO_ORIGINAL_DST = 80
_RESET = struct.pack("ii", 1, 0)

_log = log.logger(__name__)


class Border:
    """Relays both ways.

    Args:
        host: The host's network.
        refused: Is told of the node ports that cannot be opened there, and why, when that changes.
    """

    def __init__(self, host: Outside, refused: Callable[[Mapping[int, str]], None]) -> None:
        self._host = host
        self._refused = refused
        self._problems: dict[int, str] = {}
        self._told: dict[int, str] | None = None
        self._listeners: dict[int, asyncio.Server | None] = {}
        self._wanted: set[int] = set()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self) -> None:
        """Serves until cancelled.

        Raises:
            OSError: the egress port is taken.
        """
        server = await asyncio.start_server(self._outward, NODE_IP, EGRESS_PORT, backlog=512)
        try:
            async with server:
                while True:
                    self._changed.clear()
                    await self._open()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_RETRY_S if self._problems else None):
                            await self._changed.wait()
        finally:
            for listener in self._listeners.values():
                if listener is not None:
                    listener.close()
            self._listeners.clear()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def node_ports(self, ports: Iterable[int]) -> None:
        """Takes the TCP node ports that the host's loopback shall have."""
        self._wanted = set(ports)
        self._changed.set()

    async def _open(self) -> None:
        await self._open_wanted()
        if self._problems != self._told:
            self._told = dict(self._problems)
            self._refused(self._told)

    async def _open_wanted(self) -> None:
        for port in self._listeners.keys() - self._wanted:
            listener = self._listeners.pop(port)
            self._problems.pop(port, None)
            if listener is not None:
                listener.close()
        for port in sorted(self._wanted):
            if self._listeners.get(port) is None:
                self._listeners[port] = await self._listen(port)
                if self._listeners[port] is not None:
                    self._problems.pop(port, None)

    async def _listen(self, port: int) -> asyncio.Server | None:
        try:
            sock = self._host.socket()
        except OSError as error:
            _log.error("host's network cannot be reached", error=error)
            return None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            return await asyncio.start_server(
                lambda reader, writer: self._inward(port, reader, writer), sock=sock
            )
        except OSError as error:
            sock.close()
            if port not in self._problems:
                _log.warn("node port is in use on the host", port=port, error=error)
            self._problems[port] = error.strerror or str(error)
            return None

    def _inward(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._spawn(self._relay(reader, writer, None, (NODE_IP, port)), writer)

    def _outward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = original_destination(writer.get_extra_info("socket"))
        if target is None or target[0] == NODE_IP:  # nobody was redirected here
            _reset(writer)
            return
        if target[0] == HOST_IP:
            target = ("127.0.0.1", target[1])
        self._spawn(self._relay(reader, writer, self._host, target), writer)

    def _spawn(self, work: Any, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= CONNECTIONS_MAX:
            work.close()
            _reset(writer)
            return
        runtime.spawn(work, name="border", into=self._tasks)

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: Outside | None,
        target: tuple[str, int],
    ) -> None:
        try:
            far_reader, far_writer = await _connect(host, target)
        except (OSError, TimeoutError) as error:
            _log.debug("no way across the border", target=f"{target[0]}:{target[1]}", error=error)
            _reset(writer)
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, far_writer))
                both.create_task(_copy(far_reader, writer))
        except* OSError:
            _reset(writer)
            _reset(far_writer)
        finally:
            writer.close()
            far_writer.close()


def original_destination(connection: Any) -> tuple[str, int] | None:
    """Returns where a redirected connection was opened to, None if it was not redirected."""
    try:
        raw = connection.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
    except OSError:
        return None
    _, port, address = struct.unpack_from("=H2s4s", raw)
    return socket.inet_ntoa(address), int.from_bytes(port, "big")


async def _connect(
    host: Outside | None, target: tuple[str, int]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(_CONNECT_S):
        if host is None:
            return await asyncio.open_connection(*target)
        sock = host.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, target)
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection by RST, so that the peer sees an error rather than an end."""
    with contextlib.suppress(OSError):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
