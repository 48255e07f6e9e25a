"""Netlink messages as bytes: attributes, batches, and a socket that waits for the answers.

Shared by links and routes (`link`) and by the NAT rules (`nat`). No other library speaks raw
netlink here: one pod costs under a millisecond this way.
"""

from __future__ import annotations

import os
import socket
import struct

NLM_F_REQUEST = 1
NLM_F_ACK = 4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLA_F_NESTED = 0x8000

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
_NLMSG_ERROR = 2
_NLMSG_DONE = 3


def attribute(kind: int, payload: bytes) -> bytes:
    """Returns one attribute, padded to four bytes."""
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + b"\0" * (-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Returns an attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Returns a zero-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def u32be(kind: int, value: int) -> bytes:
    """Returns a 32-bit attribute in network order, as netfilter wants them."""
    return attribute(kind, struct.pack(">I", value))


def u32(kind: int, value: int) -> bytes:
    """Returns a 32-bit attribute in host order, as rtnetlink wants them."""
    return attribute(kind, struct.pack("=I", value))


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Returns one netlink message with its header."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


class NetlinkSocket:
    """A netlink socket of the network namespace that it was made in."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def next_sequence(self) -> int:
        """Returns a number that this socket has not used yet."""
        self._sequence += 1
        return self._sequence

    def send(self, data: bytes) -> None:
        """Sends messages; answers are read by `answers`."""
        self._socket.sendto(data, (0, 0))

    def request(self, kind: int, flags: int, body: bytes, what: str) -> None:
        """Sends one request and waits for its acknowledgement.

        Args:
            kind: Message type.
            flags: Besides REQUEST and ACK.
            body: Family header and attributes.
            what: For the error's text.

        Raises:
            OSError: the kernel refused.
        """
        sequence = self.next_sequence()
        self.send(message(kind, flags | NLM_F_REQUEST | NLM_F_ACK, sequence, body))
        self.answers({sequence}, what)

    def answers(self, wanted: set[int], what: str) -> None:
        """Waits until every sequence number in `wanted` is acknowledged.

        Raises:
            OSError: the kernel refused one; all answers that are there are read first.
        """
        failed: OSError | None = None
        while wanted and failed is None:
            data = self._socket.recv(1 << 17)
            at = 0
            while at + 16 <= len(data):
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, at)
                if kind == _NLMSG_ERROR:
                    number = -struct.unpack_from("=i", data, at + 16)[0]
                    wanted.discard(sequence)
                    if number and failed is None:
                        failed = OSError(number, f"{what}: {os.strerror(number)}")
                elif kind == _NLMSG_DONE:
                    wanted.discard(sequence)
                at += max(16, (length + 3) & ~3)
        if failed is not None:
            self._drain()
            raise failed

    def _drain(self) -> None:
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(1 << 17)
        except BlockingIOError:
            pass
        finally:
            self._socket.setblocking(True)
