"""Pod addresses: given out in turn, so that one that was just freed is not used at once."""

from __future__ import annotations

import ipaddress
import os

from linkerd.errors import LocalError
from linkerd.local.paths import POD_CIDR


class Addresses:
    """The addresses in use; the first ones (network, node) are never given out."""

    def __init__(self, cidr: str = POD_CIDR) -> None:
        self._network = ipaddress.IPv4Network(cidr)
        self._used: set[str] = set()
        self._next = 2

    def take(self, wanted: str = "") -> tuple[str, str]:
        """Returns an address and a name, never used before, for the node's end of the veth pair.

        Args:
            wanted: An address reserved for the pod before.

        Raises:
            LocalError: all are in use.
        """
        veth = "v" + os.urandom(6).hex()
        if wanted:
            self._used.add(wanted)
            return wanted, veth
        last = self._network.num_addresses - 2
        for _ in range(last):
            ip = str(self._network[self._next])
            self._next = self._next + 1 if self._next < last else 2
            if ip not in self._used:
                self._used.add(ip)
                return ip, veth
        raise LocalError(f"all addresses of {self._network} are in use")

    def reserve(self, ip: str) -> None:
        """Marks an address as used by a pod that runs already."""
        self._used.add(ip)
        if ipaddress.IPv4Address(ip) in self._network:
            offset = int(ipaddress.IPv4Address(ip)) - int(self._network.network_address)
            self._next = max(self._next, offset + 1)

    def give(self, ip: str) -> None:
        """Frees an address."""
        self._used.discard(ip)
