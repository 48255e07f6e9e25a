"""R06: names that clients make up do not become memory.

Source: CVE-2025-43915 (Linkerd: metrics by every authority that was ever seen).
"""

import contextlib
import time
from collections.abc import Iterator

from bench.rig import memory_kb
from tests.scorecard.mesh import HTTP, SERVER_IP, SERVICE_IP, Host, Mesh
from tests.scorecard.rows import Line, at_most, exactly

NAMES = 50_000
SERIES, GROWTH_KB, SCRAPE_MS = 20_000, 30 * 1024, 200
# Requests that are under way at once on the connection.
_BATCH = 100


def check() -> Iterator[Line]:
    """Fifty thousand hosts and paths, inbound and outbound."""
    with Mesh() as mesh:
        for label, source, ip, side in (
            ("inbound", mesh.outside, SERVER_IP, mesh.server),
            ("outbound", mesh.client, SERVICE_IP, mesh.client),
        ):
            proxy = mesh.proxies[label == "outbound"]
            _ask(source, ip, 0, _BATCH)
            before = memory_kb(proxy)["pss_anon"]
            answered = sum(
                _ask(source, ip, first, _BATCH) for first in range(_BATCH, NAMES + _BATCH, _BATCH)
            )
            grown = memory_kb(proxy)["pss_anon"] - before
            begun = time.monotonic()
            text = mesh.admin(side, "/metrics")[1]
            took = (time.monotonic() - begun) * 1000
            series = sum(not line.startswith("#") for line in text.splitlines())
            yield exactly("R06", f"{label}-answered", answered, "requests", NAMES)
            yield at_most("R06", f"{label}-series", series, "series", SERIES)
            yield at_most("R06", f"{label}-memory", max(0, grown), "KiB", GROWTH_KB)
            yield at_most("R06", f"{label}-scrape", took, "ms", SCRAPE_MS)
        yield exactly("R06", "crashed", int(not mesh.alive()), "proxies", 0)


def _ask(source: Host, ip: str, first: int, count: int) -> int:
    """Sends requests of made-up names one behind the other; how many were answered."""
    requests = b"".join(
        b"GET /status/204?%d HTTP/1.1\r\nHost: h%d.example.com\r\nx-%d: y\r\n\r\n" % (n, n, n)
        for n in range(first, first + count)
    )
    with contextlib.suppress(OSError), contextlib.closing(source.connect(ip, HTTP)) as peer:
        peer.sendall(requests)
        answer = b""
        while answer.count(b"\r\n\r\n") < count and (part := peer.recv(65536)):
            answer += part
        return answer.count(b"HTTP/1.1 204")
    return 0
