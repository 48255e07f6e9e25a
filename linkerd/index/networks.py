"""Which EgressNetwork covers an address.

Source: linkerd2 policy-controller/k8s/index/src/outbound/index/egress_network.rs. There, sizes of
large IPv6 blocks overflow to zero; here they are what they are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from linkerd.model.objects import Network
from linkerd.model.policy import ALL_NETWORKS
from linkerd.model.route_objects import EgressNetwork

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Block = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Area:
    """A block without some blocks."""

    block: Block
    holes: tuple[Block, ...]

    @classmethod
    def of(cls, network: Network) -> Self:
        """Returns the area of a network.

        Raises:
            ValueError: a block does not parse.
        """
        holes = tuple(block_of(each) for each in network.except_ or ())
        return cls(block_of(network.cidr), holes)

    def __contains__(self, address: Address) -> bool:
        return address in self.block and not any(address in hole for hole in self.holes)

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return self.block.num_addresses - sum(hole.num_addresses for hole in self.holes)

    def overlaps(self, block: Block) -> bool:
        """Whether an address of `block` is in the area."""
        if self.block.version != block.version or not self.block.overlaps(block):
            return False
        if any(_within(block, hole) for hole in self.holes):
            return False
        if not _within(self.block, block):
            return True
        # The block holds the whole area: only holes that leave nothing over could part them.
        return not any(_within(self.block, hole) for hole in self.holes)


def block_of(text: str) -> Block:
    """Returns the block that `text` is.

    Raises:
        ValueError: it is none.
    """
    return ipaddress.ip_network(text, strict=False)


def areas(network: EgressNetwork, cluster_networks: Iterable[Block]) -> tuple[Area, ...]:
    """Returns what an EgressNetwork covers: by default all that is outside of the cluster.

    Networks that do not parse cover nothing.
    """
    if network.spec.networks is None:
        inside = tuple(cluster_networks)
        return tuple(
            Area(block, tuple(each for each in inside if each.version == block.version))
            for block in map(block_of, ALL_NETWORKS)
        )
    found: list[Area] = []
    for each in network.spec.networks:
        try:
            found.append(Area.of(each))
        except ValueError:
            continue
    return tuple(found)


def best(
    address: Address, candidates: Iterable[tuple[EgressNetwork, tuple[Area, ...]]]
) -> EgressNetwork | None:
    """Returns the network whose area around the address is smallest; then the oldest, then by name.

    Returns:
        None when none covers the address.
    """
    ranked = []
    for network, covered in candidates:
        sizes = [area.size for area in covered if address in area]
        if sizes:
            meta = network.metadata
            ranked.append((min(sizes), meta.creation_timestamp or "", *meta.key, network))
    return min(ranked, key=lambda entry: entry[:-1])[-1] if ranked else None


def _within(inner: Block, outer: Block) -> bool:
    return inner.version == outer.version and (
        outer.network_address <= inner.network_address  # type: ignore[operator]
        and inner.broadcast_address <= outer.broadcast_address  # type: ignore[operator]
    )
