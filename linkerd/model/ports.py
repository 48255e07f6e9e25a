"""Port numbers and the lists of them that annotations hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from linkerd.errors import WireError

PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class PortSet:
    """Ports as ranges, bounds included."""

    ranges: tuple[tuple[int, int], ...] = ()

    def __contains__(self, port: object) -> bool:
        return any(low <= port <= high for low, high in self.ranges if isinstance(port, int))

    def __bool__(self) -> bool:
        return bool(self.ranges)


def port_of(text: str) -> int | None:
    """Returns the port number in `text`, None if it is none in 1..65535."""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= PORT_MAX:
        return int(text)
    return None


def port_set(text: str, names: Mapping[str, int] | None = None) -> PortSet:
    """Returns the ports in a list such as `25,587,3306-3310,mysql`.

    Entries that are neither numbers, ranges nor known names are ignored, as one typing error must
    not change how the other ports are treated.

    Args:
        text: The annotation's value.
        names: Named ports that may be used.

    Source: linkerd2 pkg/util/parsing.go (ParseContainerOpaquePorts).
    """
    ranges: list[tuple[int, int]] = []
    for entry in text.split(","):
        word = entry.strip()
        low, dash, high = word.partition("-")
        first, last = port_of(low), port_of(high)
        if dash and first and last and first <= last:
            ranges.append((first, last))
        elif not dash and first:
            ranges.append((first, first))
        elif names and word in names:
            ranges.append((names[word], names[word]))
    return PortSet(tuple(sorted(set(ranges))))


def listen_port(address: str) -> int | None:
    """Returns the port of `host:port`, `[::]:port`; also of Linkerd's comma-separated pairs."""
    return port_of(address.split(",")[0].rpartition(":")[2])


def required_port(value: int, what: str) -> int:
    """Returns `value` if it is a port.

    Raises:
        WireError: it is not 1..65535.
    """
    if not 1 <= value <= PORT_MAX:
        raise WireError(f"{what}: port {value} is not 1..65535")
    return value
