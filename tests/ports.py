"""Ports for processes that choose none themselves, which nobody else takes before they listen.

A port that the kernel chose and that was closed again may become the source of any connection of
this machine, or the next test's. These are below the kernel's range and that of node ports, and
each process has its own.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from functools import cache

_FIRST, _SHARE, _SHARES = 20_000, 120, 80


def free_port() -> int:
    """Returns a port of this process's share on which nobody listens; another at each call."""
    for port in itertools.islice(_share()[1], _SHARE):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"all {_SHARE} ports of this process are taken")


@cache
def _share() -> tuple[socket.socket, Iterator[int]]:
    """A share is held by a name that goes with its process."""
    claim = socket.socket(socket.AF_UNIX)
    for number in range(_SHARES):
        try:
            claim.bind(f"\0linkerd-test-ports-{number}")
        except OSError:
            continue
        first = _FIRST + number * _SHARE
        return claim, itertools.cycle(range(first, first + _SHARE))
    raise OSError(f"{_SHARES} processes hold ports already")
