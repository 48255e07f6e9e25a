"""R11: when a backend dies, only what it was working on fails; when all do, answers come at once.

Source: linkerd2 #11480 and its like; Linkerd's fail-fast (3 s).
"""

import contextlib
import time
from collections.abc import Iterator

from tests.scorecard.backends import PORT, start, world
from tests.scorecard.load import report, running
from tests.scorecard.mesh import DIRECT, SERVICE_IP, Mesh
from tests.scorecard.rows import Line, at_least, at_most, exactly

CONNECTIONS = 8
RATE, SECONDS = 200.0, 9.0
FAIL_FAST_S, RECOVERED_S = 4.0, 5.0


def check() -> Iterator[Line]:
    """One of three dies and comes back under load, then all of them."""
    with Mesh(world=world()) as mesh:
        backends = {port: start(mesh, port) for port in DIRECT}
        words = ["--http", "1", "--connections", str(CONNECTIONS)]
        load = running(mesh, PORT, words, SECONDS, RATE)
        time.sleep(SECONDS / 3)
        victim = DIRECT[0]
        backends[victim].kill()
        backends[victim].wait()
        time.sleep(SECONDS / 3)
        backends[victim] = start(mesh, victim)
        result = report(load)
        yield at_most("R11", "failed-by-a-death", result["failed"], "requests", CONNECTIONS)
        yield at_least(
            "R11", "answered", result["completed"], "requests", RATE * SECONDS * 0.95 - CONNECTIONS
        )
        for process in backends.values():
            process.kill()
            process.wait()
        _ask(mesh)
        begun = time.monotonic()
        refused = _ask(mesh)
        yield at_most(
            "R11", "answered-without-backends", time.monotonic() - begun, "s", FAIL_FAST_S
        )
        yield at_least("R11", "status-without-backends", refused, "status", 502)
        for port in DIRECT:
            start(mesh, port)
        begun = time.monotonic()
        while _ask(mesh) != 200 and time.monotonic() < begun + 4 * RECOVERED_S:
            time.sleep(0.05)
        yield at_most("R11", "recovered", time.monotonic() - begun, "s", RECOVERED_S)
        yield exactly("R11", "crashed", int(not mesh.proxies_live()), "proxies", 0)


def _ask(mesh: Mesh) -> int:
    """Status of one request; 0 without an answer."""
    try:
        with contextlib.closing(mesh.client.connect(SERVICE_IP, PORT, 15.0)) as peer:
            peer.sendall(b"GET /status/200 HTTP/1.1\r\nHost: many\r\nConnection: close\r\n\r\n")
            words = peer.recv(4096).split(None, 2)
            return int(words[1]) if len(words) > 1 else 0
    except OSError:
        return 0
