"""R07: without a control plane, what is known goes on; when it is back, what is new works.

Source: linkerd2 #8956, #10491, #11279 (proxies stuck with or without old endpoints).
"""

import contextlib
import time
from collections.abc import Iterator

from tests.scorecard.load import report, running
from tests.scorecard.mesh import GUARDED, HTTP, SERVICE_IP, Mesh
from tests.scorecard.rows import Line, at_least, at_most, exactly

RATE, SECONDS = 200.0, 24.0
RECOVERED_S = 15.0


def check() -> Iterator[Line]:
    """Both pods' control planes are killed under load, and come back."""
    with Mesh() as mesh:
        load = running(mesh, HTTP, ["--http", "1", "--connections", "8"], SECONDS, RATE)
        time.sleep(4.0)
        for control in mesh.controls:
            control.kill()
            control.wait()
        time.sleep(SECONDS / 2)
        known = sum(_answers(mesh, HTTP) for _ in range(20))
        for side in (mesh.server, mesh.client):
            mesh.start_control(side)
        begun = time.monotonic()
        while not _answers(mesh, GUARDED) and time.monotonic() < begun + 2 * RECOVERED_S:
            time.sleep(0.1)
        took = time.monotonic() - begun
        result = report(load)
        yield exactly("R07", "failed", result["failed"], "requests", 0)
        yield at_least("R07", "answered", result["completed"], "requests", RATE * SECONDS * 0.95)
        yield exactly("R07", "new-connections-meanwhile", known, "requests", 20)
        yield at_most("R07", "new-target-after-return", took, "s", RECOVERED_S)
        yield exactly("R07", "crashed", int(not mesh.proxies_live()), "proxies", 0)


def _answers(mesh: Mesh, port: int) -> bool:
    try:
        with contextlib.closing(mesh.client.connect(SERVICE_IP, port, 5.0)) as peer:
            peer.sendall(b"GET /status/204 HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
            return b" 204 " in peer.recv(4096)
    except OSError:
        return False
