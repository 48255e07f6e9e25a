"""The DNS server's edge: UDP and TCP on the DNS service's address, others asked on the host.

Names outside of the cluster go to the host's own resolver, through sockets made in the host's
network namespace; without one, or without an answer in time, the client gets SERVFAIL quickly.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from linkerd import log, runtime
from linkerd.errors import WireError
from linkerd.local.node import dns
from linkerd.local.node.outside import Outside

#: Queries that may wait for the host's resolver at one time; more get SERVFAIL.
FORWARDED_MAX = 256
_FORWARD_TIMEOUT_S = 2.0
_TCP_IDLE_S = 10.0

_log = log.logger(__name__)


class Resolver:
    """Answers queries from the zone that `zone()` returns at that moment."""

    def __init__(self, zone: Callable[[], dns.Zone], host: Outside | None) -> None:
        self._zone = zone
        self._host = host
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, ip: str, port: int = 53) -> None:
        """Serves until cancelled.

        Raises:
            OSError: the address is taken.
        """
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=(ip, port)
        )
        server = await asyncio.start_server(self._connected, ip, port)
        try:
            async with server:
                await server.serve_forever()
        finally:
            transport.close()
            for task in list(self._tasks):
                task.cancel()

    def datagram(self, data: bytes, reply: Callable[[bytes], None]) -> None:
        """Answers one UDP query, at once if the name is the cluster's."""
        try:
            question = dns.parse(data)
        except WireError:
            return
        answer = dns.answer(self._zone(), question)
        if answer is not None:
            reply(answer)
        elif len(self._tasks) >= FORWARDED_MAX:
            reply(dns.failure(question, dns.SERVFAIL))
        else:

            async def forward() -> None:
                reply(await self._forward(data, question))

            runtime.spawn(forward(), name="dns forward", into=self._tasks)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= FORWARDED_MAX:
            writer.close()
            return
        runtime.spawn(self._converse(reader, writer), name="dns by tcp", into=self._tasks)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, WireError):
            while True:
                async with asyncio.timeout(_TCP_IDLE_S):
                    (length,) = struct.unpack(">H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                question = dns.parse(data)
                answer = dns.answer(self._zone(), question, bytes_max=65535)
                if answer is None:
                    answer = await self._forward(data, question)
                writer.write(struct.pack(">H", len(answer)) + answer)
                await writer.drain()
        writer.close()

    async def _forward(self, data: bytes, question: dns.Question) -> bytes:
        server = host_nameserver()
        if self._host is None or server is None:
            return dns.failure(question, dns.SERVFAIL)
        loop = asyncio.get_running_loop()
        try:
            query = self._host.socket(socket.SOCK_DGRAM)
        except OSError:
            return dns.failure(question, dns.SERVFAIL)
        with query:
            query.setblocking(False)
            try:
                query.connect((server, 53))
                async with asyncio.timeout(_FORWARD_TIMEOUT_S):
                    await loop.sock_sendall(query, data)
                    while True:
                        answer = await loop.sock_recv(query, 65535)
                        if answer[:2] == data[:2]:
                            return answer
            except (OSError, TimeoutError):
                return dns.failure(question, dns.SERVFAIL)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        transport = self._transport
        if transport is not None:
            self._resolver.datagram(data, lambda answer: transport.sendto(answer, addr))


def host_nameserver(path: Path = Path("/etc/resolv.conf")) -> str | None:
    """Returns the host's first IPv4 name server, None if it has none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and ":" not in words[1]:
            return words[1]
    return None
