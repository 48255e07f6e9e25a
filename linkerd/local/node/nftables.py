"""nf_tables messages: the few objects and expressions that service NAT needs.

Numbers are the kernel's (include/uapi/linux/netfilter/nf_tables.h). Registers: 8…23 are 32-bit
ones; 1 overlays 8…11, which is how a concatenated key is looked up.
"""

from __future__ import annotations

import socket
import struct

from linkerd.local.node.netlink import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    attribute,
    message,
    nested,
    text,
    u32be,
)

_SUBSYSTEM = 10 << 8
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _DEL_TABLE = 0, 2
_NEW_CHAIN, _DEL_CHAIN = 3, 5
_NEW_RULE, _DEL_RULE = 6, 8
_NEW_SET = 9
_NEW_ELEMENT, _DEL_ELEMENT = 12, 14
_VERDICT_TYPE = 0xFFFFFF00
_GOTO = -4 & 0xFFFFFFFF

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
SET_ANONYMOUS, SET_CONSTANT, SET_MAP = 1, 2, 8
_META_L4PROTO = 16
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_REJECT_ICMP, _REJECT_TCP_RESET = 0, 1
_PORT_UNREACHABLE = 3


class Batch:
    """One atomic change of one table; `bytes` is what goes to the kernel."""

    def __init__(self, table: str, sequence: int) -> None:
        self._table = text(1, table)
        self._sequence = sequence
        self._set_ids = 0
        self._messages = [self._frame(_BATCH_BEGIN, 0, _family(0, 10))]

    def __len__(self) -> int:
        """Returns the number of changes."""
        return len(self._messages) - 1

    def finish(self) -> tuple[bytes, int, int]:
        """Returns the bytes, the sequence number that is acknowledged, and the next free one."""
        last = bytearray(self._messages[-1])
        flags = struct.unpack_from("=H", last, 6)[0] | NLM_F_ACK
        struct.pack_into("=H", last, 6, flags)
        acknowledged = self._sequence - 1
        end = self._frame(_BATCH_END, 0, _family(0, 10))
        return b"".join([*self._messages[:-1], bytes(last), end]), acknowledged, self._sequence

    def table(self) -> None:
        """Makes the table, unless it exists."""
        self._add(_NEW_TABLE, NLM_F_CREATE, self._table)

    def delete_table(self) -> None:
        """Deletes the table and all that is in it."""
        self._add(_DEL_TABLE, 0, self._table)

    def base_chain(self, name: str, kind: str, hook: int, priority: int) -> None:
        """Makes a chain that packets enter at a hook."""
        place = nested(4, u32be(1, hook), attribute(2, struct.pack(">i", priority)))
        self._add(_NEW_CHAIN, NLM_F_CREATE, self._table + text(3, name) + place + text(7, kind))

    def chain(self, name: str) -> None:
        """Makes a chain that others go to."""
        self._add(_NEW_CHAIN, NLM_F_CREATE, self._table + text(3, name))

    def delete_chain(self, name: str) -> None:
        """Deletes an empty chain that nothing refers to any more."""
        self._add(_DEL_CHAIN, 0, self._table + text(3, name))

    def flush_chain(self, name: str) -> None:
        """Deletes a chain's rules."""
        self._add(_DEL_RULE, 0, self._table + text(2, name))

    def rule(self, chain: str, *expressions: bytes) -> None:
        """Appends a rule to a chain."""
        body = self._table + text(2, chain) + nested(4, *expressions)
        self._add(_NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, body)

    def set(self, name: str, flags: int, key_bytes: int, data_bytes: int = 0) -> int:
        """Makes a set, or with SET_MAP a map to data, or to verdicts if `data_bytes` is 0.

        Returns:
            Its id within this batch, by which rules refer to an anonymous set.
        """
        self._set_ids += 1
        body = self._table + text(2, name) + u32be(3, flags) + u32be(4, 0) + u32be(5, key_bytes)
        if flags & SET_MAP:
            body += u32be(6, 0 if data_bytes else _VERDICT_TYPE) + u32be(7, data_bytes or 16)
        self._add(_NEW_SET, NLM_F_CREATE, body + u32be(10, self._set_ids))
        return self._set_ids

    def add_elements(self, name: str, elements: list[bytes], id: int = 0) -> None:
        """Adds elements made by `element`."""
        self._elements(_NEW_ELEMENT, name, elements, id)

    def delete_elements(self, name: str, elements: list[bytes]) -> None:
        """Deletes elements; only their keys matter."""
        self._elements(_DEL_ELEMENT, name, elements, 0)

    def _elements(self, kind: int, name: str, elements: list[bytes], id: int) -> None:
        for at in range(0, len(elements), 500):
            body = self._table + text(2, name) + nested(3, *elements[at : at + 500])
            self._add(kind, NLM_F_CREATE, body + (u32be(4, id) if id else b""))

    def _add(self, kind: int, flags: int, body: bytes) -> None:
        self._messages.append(self._frame(_SUBSYSTEM | kind, flags, _family(socket.AF_INET) + body))

    def _frame(self, kind: int, flags: int, body: bytes) -> bytes:
        framed = message(kind, flags | NLM_F_REQUEST, self._sequence, body)
        self._sequence += 1
        return framed


def element(key: bytes, *, data: bytes | None = None, goto: str | None = None) -> bytes:
    """Returns a set element, optionally with a map's data or the chain to go to."""
    body = nested(1, attribute(1, key))
    if goto is not None:
        body += nested(2, nested(2, u32be(1, _GOTO), text(2, goto)))
    elif data is not None:
        body += nested(2, attribute(1, data))
    return nested(1, body)


def network_header(register: int, offset: int, length: int) -> bytes:
    """Loads bytes of the IP header."""
    return _payload(register, _NETWORK_HEADER, offset, length)


def destination_port(register: int) -> bytes:
    """Loads the TCP or UDP destination port."""
    return _payload(register, _TRANSPORT_HEADER, 2, 2)


def l4_protocol(register: int) -> bytes:
    """Loads the transport protocol's number."""
    return _expression("meta", u32be(2, _META_L4PROTO), u32be(1, register))


def lookup(name: str, register: int, *, to: int | None = None, id: int = 0) -> bytes:
    """Matches a set; with `to` loads the map's data (0: executes its verdict)."""
    parts = [text(1, name), u32be(2, register)]
    if to is not None:
        parts.append(u32be(3, to))
    if id:
        parts.append(u32be(4, id))
    return _expression("lookup", *parts)


def equals(register: int, value: bytes) -> bytes:
    """Matches a register's bytes."""
    return _expression("cmp", u32be(1, register), u32be(2, 0), nested(3, attribute(1, value)))


def differs(register: int, value: bytes) -> bytes:
    """Matches when a register has other bytes."""
    return _expression("cmp", u32be(1, register), u32be(2, 1), nested(3, attribute(1, value)))


def masked(source: int, register: int, mask: bytes) -> bytes:
    """Loads a register's bits under a mask into another."""
    return _expression(
        "bitwise",
        u32be(1, source),
        u32be(2, register),
        u32be(3, len(mask)),
        nested(4, attribute(1, mask)),
        nested(5, attribute(1, bytes(len(mask)))),
    )


def immediate(register: int, value: bytes) -> bytes:
    """Loads given bytes."""
    return _expression("immediate", u32be(1, register), nested(2, attribute(1, value)))


def random(register: int, modulus: int) -> bytes:
    """Loads a random number below `modulus`."""
    return _expression("numgen", u32be(1, register), u32be(2, modulus), u32be(3, 1))


def hash_of(source: int, register: int, length: int, modulus: int) -> bytes:
    """Loads a hash below `modulus` of `length` bytes from register `source` on."""
    return _expression(
        "hash",
        u32be(1, source),
        u32be(2, register),
        u32be(3, length),
        u32be(4, modulus),
        u32be(5, 0),
        u32be(7, 0),
    )


def dnat(address: int, port: int) -> bytes:
    """Sends the connection to the address and port in two registers."""
    return _expression(
        "nat",
        u32be(1, 1),
        u32be(2, socket.AF_INET),
        u32be(3, address),
        u32be(5, port),
    )


def masquerade() -> bytes:
    """Gives the connection the outgoing link's address as source."""
    return _expression("masq")


def reset_tcp() -> bytes:
    """Answers with a TCP reset."""
    return _expression("reject", u32be(1, _REJECT_TCP_RESET), attribute(2, b"\0"))


def port_unreachable() -> bytes:
    """Answers with ICMP port unreachable."""
    return _expression(
        "reject", u32be(1, _REJECT_ICMP), attribute(2, struct.pack("B", _PORT_UNREACHABLE))
    )


def _payload(register: int, base: int, offset: int, length: int) -> bytes:
    return _expression(
        "payload", u32be(1, register), u32be(2, base), u32be(3, offset), u32be(4, length)
    )


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *attributes))


def _family(family: int, resource: int = 0) -> bytes:
    return struct.pack(">BBH", family, 0, resource)
