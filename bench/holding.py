"""What connections that do nothing cost, and how much of it is given back."""

import json
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from cells import Bar
from peers import BYTES, HTTP1, LOADGEN
from rig import LOAD_CORE, SERVICE_IP, Pair, RigError, memory_kb

SETTLE_S = 1.0
AFTER_CLOSE_S = 10.0


@dataclass(frozen=True)
class Held:
    """Connections that were answered once and then do nothing."""

    name: str
    port: int
    opaque: bool
    bar: Bar
    """For one connection, in kB of both proxies."""
    left_bar: Bar
    """For what is left after the close, in percent."""


HELD = (
    Held("idle HTTP/1 connection", HTTP1, opaque=False, bar=Bar(3), left_bar=Bar(20)),
    Held("idle opaque mTLS connection", BYTES, opaque=True, bar=Bar(8), left_bar=Bar(20)),
)


def hold(pairs: Mapping[str, Pair], held: Held, connections: int) -> dict[str, dict[str, float]]:
    """Private memory of both proxies for a connection, in kB, and what is left of it, by peer."""
    before = {name: private_kb(pair) for name, pair in pairs.items()}
    with ExitStack() as stack:
        for pair in pairs.values():
            stack.enter_context(_Connections(pair, held, connections))
        time.sleep(SETTLE_S)
        during = {name: private_kb(pair) for name, pair in pairs.items()}
    time.sleep(AFTER_CLOSE_S)
    found = {}
    for name, pair in pairs.items():
        taken = max(during[name] - before[name], 1)
        left = max(private_kb(pair) - before[name], 0)
        found[name] = {
            "connections": connections,
            "kb_per_connection": taken / connections,
            "left_percent": 100 * left / taken,
        }
    return found


class _Connections:
    """Held by a loadgen of their own while the context lasts."""

    def __init__(self, pair: Pair, held: Held, connections: int) -> None:
        command = [*pair.client.within, "taskset", "-c", str(LOAD_CORE), LOADGEN, "bytes", "hold"]
        command += ["--to", f"{SERVICE_IP}:{held.port}", "--connections", str(connections)]
        self._command = command + ([] if held.opaque else ["--get", "web"])
        self._name = f"{pair.name}, {held.name}"

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line or not json.loads(line)["held"]:
            self.__exit__()
            raise RigError(f"{self._name}: the connections could not be opened")

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def private_kb(pair: Pair) -> int:
    """Private memory of both proxies."""
    return sum(memory_kb(process)["pss_anon"] for process in pair.proxies)
