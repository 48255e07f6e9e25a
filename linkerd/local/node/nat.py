"""Service NAT in the node's network namespace: ClusterIP and NodePort to ready endpoints.

    prerouting, output   (address, protocol, port) in `services` → the service's chain
    prerouting           other TCP that leaves the cluster → `border`
    a service's chain    random or hash(source) mod n → endpoint → dnat
    reject               (address, protocol, port) in `dead` → TCP reset, else port unreachable
    postrouting          (pod, pod) in `hairpin` → masquerade: a pod that reached itself

One atomic batch per change, only what differs. The rules live in the kernel, so traffic goes on
while no node process runs.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from linkerd.local.node import nftables
from linkerd.local.node.netlink import NETLINK_NETFILTER, NetlinkSocket
from linkerd.local.node.nftables import Batch, element
from linkerd.local.paths import POD_CIDR, SERVICE_CIDR

TABLE = "linkerd-local"
PROTOCOLS = {"TCP": socket.IPPROTO_TCP, "UDP": socket.IPPROTO_UDP, "SCTP": socket.IPPROTO_SCTP}
_KEY_REGISTER = 1
_R0, _R1, _R2 = 8, 9, 10
_DATA_REGISTER, _ADDRESS, _PORT = 2, 12, 13
_SOURCE_OFFSET, _DESTINATION_OFFSET = 12, 16


@dataclass(frozen=True, order=True, slots=True)
class Frontend:
    """What clients connect to."""

    ip: str
    protocol: str
    port: int

    @property
    def chain(self) -> str:
        """Name of the service's chain."""
        return f"{self.ip}-{self.protocol}-{self.port}".lower()

    @property
    def key(self) -> bytes:
        """The concatenated key of sets: three 32-bit registers."""
        number = PROTOCOLS[self.protocol]
        return socket.inet_aton(self.ip) + struct.pack("B3x", number) + _port(self.port)


@dataclass(frozen=True, slots=True)
class Backends:
    """Where connections go: sorted (ip, port) pairs; none means that they are refused."""

    endpoints: tuple[tuple[str, int], ...]
    affinity: bool = False


Table = Mapping[Frontend, Backends]


def plan(
    batch: Batch, old: Table | None, new: Table, egress: tuple[str, int] | None = None
) -> None:
    """Adds to `batch` what turns `old` into `new`; `None` means that anything may be there.

    Args:
        batch: Is added to.
        old: What the kernel has.
        new: What it shall have.
        egress: Where TCP from pods to the outside goes, if anywhere.
    """
    if old is None:
        _scaffold(batch, egress)
        old = {}
    gone = old.keys() - new.keys()
    changed = sorted(key for key in new if old.get(key) != new[key])
    dead_before = {key for key in old if not old[key].endpoints}
    dead_after = {key for key in new if not new[key].endpoints}
    alive_before, alive_after = old.keys() - dead_before, new.keys() - dead_after
    _change(batch, "services", alive_before - alive_after, (), verdicts=True)
    _change(batch, "dead", dead_before - dead_after, ())
    for key in changed:
        if new[key].endpoints:
            _fill_chain(batch, key, new[key], fresh=key not in alive_before)
    _change(batch, "services", (), alive_after - alive_before, verdicts=True)
    _change(batch, "dead", (), dead_after - dead_before)
    for key in sorted((gone | dead_after) & alive_before):
        batch.flush_chain(key.chain)
        batch.delete_chain(key.chain)
    before, after = _endpoint_ips(old), _endpoint_ips(new)
    if before - after:
        batch.delete_elements("hairpin", [_pair(ip) for ip in sorted(before - after)])
    if after - before:
        batch.add_elements("hairpin", [_pair(ip) for ip in sorted(after - before)])


class Nat:
    """The rules in the kernel; must be made in the node's network namespace."""

    def __init__(self, egress: tuple[str, int] | None = None) -> None:
        self._egress = egress
        self._netlink = NetlinkSocket(NETLINK_NETFILTER)
        self._current: Table | None = None
        self._sequence = 1

    def apply(self, table: Table) -> None:
        """Makes the kernel's rules equal `table`, atomically.

        Raises:
            OSError: the kernel refused; the next call starts from nothing.
        """
        batch = Batch(TABLE, self._sequence)
        plan(batch, self._current, table, self._egress)
        if not len(batch):
            return
        data, acknowledged, self._sequence = batch.finish()
        self._current = None
        self._netlink.send(data)
        self._netlink.answers({acknowledged}, f"service rules ({len(table)})")
        self._current = dict(table)

    def close(self) -> None:
        """Closes the socket; the rules stay."""
        self._netlink.close()


def _scaffold(batch: Batch, egress: tuple[str, int] | None) -> None:
    batch.table()
    batch.delete_table()
    batch.table()
    batch.set("services", nftables.SET_MAP, 12)
    batch.set("dead", 0, 12)
    batch.set("hairpin", 0, 8)
    key = (
        nftables.network_header(_R0, _DESTINATION_OFFSET, 4),
        nftables.l4_protocol(_R1),
        nftables.destination_port(_R2),
    )
    for name, hook in (("prerouting", nftables.PREROUTING), ("output", nftables.OUTPUT)):
        reject = f"reject-{name}"
        batch.base_chain(reject, "filter", hook, -110)
        is_dead = nftables.lookup("dead", _KEY_REGISTER)
        tcp = nftables.equals(_R1, struct.pack("B", socket.IPPROTO_TCP))
        batch.rule(reject, *key, is_dead, tcp, nftables.reset_tcp())
        batch.rule(reject, *key, is_dead, nftables.port_unreachable())
        batch.base_chain(name, "nat", hook, -100)
        batch.rule(name, *key, nftables.lookup("services", _KEY_REGISTER, to=0))
    if egress is not None:
        batch.rule(
            "prerouting",
            nftables.l4_protocol(_R1),
            nftables.equals(_R1, struct.pack("B", socket.IPPROTO_TCP)),
            nftables.network_header(_R0, _DESTINATION_OFFSET, 4),
            *_outside(POD_CIDR),
            *_outside(SERVICE_CIDR),
            nftables.immediate(_ADDRESS, socket.inet_aton(egress[0])),
            nftables.immediate(_PORT, struct.pack(">H", egress[1])),
            nftables.dnat(_ADDRESS, _PORT),
        )
    batch.base_chain("postrouting", "nat", nftables.POSTROUTING, 100)
    batch.rule(
        "postrouting",
        nftables.network_header(_R0, _SOURCE_OFFSET, 4),
        nftables.network_header(_R1, _DESTINATION_OFFSET, 4),
        nftables.lookup("hairpin", _KEY_REGISTER),
        nftables.masquerade(),
    )


def _outside(cidr: str) -> tuple[bytes, bytes]:
    """Matches when the address in the first register is not of a network."""
    network = ipaddress.IPv4Network(cidr)
    mask = nftables.masked(_R0, _R2, network.netmask.packed)
    return mask, nftables.differs(_R2, network.network_address.packed)


def _fill_chain(batch: Batch, key: Frontend, backends: Backends, *, fresh: bool) -> None:
    if fresh:
        batch.chain(key.chain)
    else:
        batch.flush_chain(key.chain)
    name = "__map%d"
    flags = nftables.SET_ANONYMOUS | nftables.SET_CONSTANT | nftables.SET_MAP
    id = batch.set(name, flags, 4, 8)
    elements = [
        element(struct.pack("=I", number), data=socket.inet_aton(ip) + _port(port))
        for number, (ip, port) in enumerate(backends.endpoints)
    ]
    batch.add_elements(name, elements, id)
    count = len(backends.endpoints)
    if backends.affinity:
        choose = nftables.network_header(_R0, _SOURCE_OFFSET, 4) + nftables.hash_of(
            _R0, _R1, 4, count
        )
        chosen = _R1
    else:
        choose, chosen = nftables.random(_R0, count), _R0
    batch.rule(
        key.chain,
        choose,
        nftables.lookup(name, chosen, to=_DATA_REGISTER, id=id),
        nftables.dnat(_ADDRESS, _PORT),
    )


def _change(
    batch: Batch,
    name: str,
    gone: Iterable[Frontend],
    new: Iterable[Frontend],
    *,
    verdicts: bool = False,
) -> None:
    removed = [element(key.key) for key in sorted(gone)]
    if removed:
        batch.delete_elements(name, removed)
    added = [element(key.key, goto=key.chain if verdicts else None) for key in sorted(new)]
    if added:
        batch.add_elements(name, added)


def _endpoint_ips(table: Table) -> set[str]:
    return {ip for backends in table.values() for ip, _ in backends.endpoints}


def _pair(ip: str) -> bytes:
    return element(socket.inet_aton(ip) * 2)


def _port(port: int) -> bytes:
    return struct.pack(">H2x", port)
