"""R01: three minutes at a steady rate through both proxies, over HTTP/1, HTTP/2 and gRPC."""

import time
from collections.abc import Iterator

from bench.rig import memory_kb
from tests.scorecard.load import report, running
from tests.scorecard.mesh import HTTP, Mesh
from tests.scorecard.rows import Line, at_least, at_most, exactly

# The full form is 30 minutes; this one is the three of continuous integration.
SECONDS = 180
_MIX = (
    ("http1", ["--http", "1", "--connections", "16"]),
    ("http2", ["--http", "2", "--connections", "2", "--streams", "8"]),
    (
        "grpc",
        [
            "--http",
            "2",
            "--connections",
            "2",
            "--streams",
            "8",
            "--header",
            "content-type: application/grpc",
        ],
    ),
)


def check() -> Iterator[Line]:
    """Finds what the pair carries, then takes 70 % of it for three minutes."""
    with Mesh() as mesh:
        most = sum(report(running(mesh, HTTP, words, 3.0, None))["rps"] for _, words in _MIX) / len(
            _MIX
        )
        rate = max(30.0, 0.7 * most / len(_MIX))
        loads = [running(mesh, HTTP, words, float(SECONDS), rate) for _, words in _MIX]
        time.sleep(SECONDS / 3)
        early = [memory_kb(proxy)["rss"] for proxy in mesh.proxies]
        reports = [report(load) for load in loads]
        late = [memory_kb(proxy)["rss"] for proxy in mesh.proxies]
        for (name, _), result in zip(_MIX, reports, strict=True):
            yield exactly("R01", f"{name}-errors", result["failed"], "requests", 0)
            yield at_least(
                "R01", f"{name}-answered", result["completed"], "requests", rate * SECONDS * 0.95
            )
        for side, before, after in zip(("server", "client"), early, late, strict=True):
            drift = max(0.0, (after - before) / before * 100)
            yield at_most("R01", f"{side}-rss-drift", drift, "%", 5)
        shed = mesh.metric(mesh.server, "inbound_http_errors_total") + mesh.metric(
            mesh.client, "outbound_http_errors_total"
        )
        yield exactly("R01", "errors-made-by-proxies", shed, "responses", 0)
        yield exactly("R01", "crashed", int(not mesh.alive()), "proxies", 0)
