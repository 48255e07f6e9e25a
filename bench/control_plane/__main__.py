"""`python -m bench.control_plane [ROW…]`: measures, writes the samples and a table."""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.control_plane.cluster import EMBEDDED, KUBERNETES, of_api
from bench.control_plane.process import ROOT
from bench.control_plane.rows import ROWS, Bench
from linkerd.log import configure
from tests.kubernetes.bed import build

_RESULTS = {EMBEDDED: "control-plane", KUBERNETES: "control-plane-kubernetes"}

TABLE = (
    ("fan-out to 1,000 streams, CPU ms", "fan_out.cpu_ms", 6, 1.5),
    ("fan-out, last delivery p99 ms", "fan_out.last_p99_ms", 30, 12),
    ("10,000 streams opened, s", "open_many.seconds", 2.5, 1),
    ("10,000 streams, refused", "open_many.refused", 0, 0),
    ("10,000 streams, kB each", "open_many.kb_per_stream", 6, 2),
    ("churn, streams cut", "churn.cut", 0, 0),
    ("churn, converged ms after the last", "churn.converged_ms", 1000, 200),
    ("1,000 × 1,000 endpoints, s", "large_service.seconds", 2.5, 1),
    ("1,000 × 1,000 endpoints, CPU s", "large_service.cpu_s", 1.5, 0.6),
    ("1,000 × 1,000 endpoints, RSS MB", "large_service.rss_mb", 200, 120),
    ("10k pods, destination RSS MB", "large_cluster.destination.rss_mb", 130, 90),
    ("10k pods, policy RSS MB", "large_cluster.policy.rss_mb", 130, 90),
    ("10k pods, injector RSS MB", "large_cluster.proxy-injector.rss_mb", 130, 90),
    ("10k pods, destination synced s", "large_cluster.destination.ready_s", 10, 5),
    ("10k pods, policy synced s", "large_cluster.policy.ready_s", 10, 5),
    ("idle destination RSS MB", "idle.destination.rss_mb", 45, 32),
    ("idle policy RSS MB", "idle.policy.rss_mb", 45, 32),
    ("idle identity RSS MB", "idle.identity.rss_mb", 45, 32),
    ("idle injector RSS MB", "idle.proxy-injector.rss_mb", 45, 32),
    ("admission review, CPU ms", "admission.clients_1.cpu_ms", 1.5, 0.6),
    ("admission, p99 ms with 8 clients", "admission.clients_8.p99_ms", 25, 10),
    ("Certify, CPU ms", "certify.cpu_ms", 1.0, 0.5),
    ("destination start to ready, s", "idle.destination.ready_s", 0.8, 0.4),
    ("policy start to ready, s", "idle.policy.ready_s", 0.8, 0.4),
    ("identity start to ready, s", "idle.identity.ready_s", 0.8, 0.4),
    ("injector start to ready, s", "idle.proxy-injector.ready_s", 0.8, 0.4),
)
"""What is shown: text, place in the results, bar, aim."""


async def measure(rows: list[str], api: str, quick: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-control-") as folder:
        place = Path(folder)
        async with of_api(api, place) as cluster:
            bench = Bench(cluster, place, quick)
            bench.slices["ten"] = await cluster.service("ten", 10, 0)
            for row in rows:
                if row == "large_service":
                    # Not before: the others are about a small cluster.
                    bench.slices["thousand"] = await cluster.service("thousand", 1000, 1000)
                load_before = os.getloadavg()[0]
                began = time.monotonic()
                found[row] = await ROWS[row](bench)
                found[row]["load_average"] = [load_before, os.getloadavg()[0]]
                found[row]["took_s"] = round(time.monotonic() - began, 1)
                print(f"{row}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    return found


def _at(results: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        if not isinstance(results, dict) or name not in results:
            return None
        results = results[name]
    return results


def table(results: dict[str, Any]) -> str:
    """Returns the figures beside their bars."""
    lines = [f"{'':38} {'measured':>10} {'bar':>8} {'aim':>8}"]
    for text, path, bar, aim in TABLE:
        value = _at(results, path)
        if value is not None:
            mark = "" if value <= bar else "  above the bar"
            lines.append(f"{text:38} {value:10.2f} {bar:8} {aim:8}{mark}")
    return "\n".join(lines)


def page(head: dict[str, Any], results: dict[str, Any]) -> str:
    """Returns the figures as a Markdown page that says where they come from."""
    machine = head["machine"]
    loads = [load for row in results.values() for load in row["load_average"]]
    lines = [
        "# What the control plane costs",
        "",
        f"`{head['command']}` at {head['date']}, commit {head['commit']}: {machine['cores']} cores, "
        f"kernel {machine['kernel']}, Python {head['python']}, API: {head['api']}; load average "
        f"{min(loads):.1f} to {max(loads):.1f}. What is measured how: `bench/README.md`.",
        "",
        "| | measured | bar | aim |",
        "|---|---:|---:|---:|",
    ]
    for text, path, bar, aim in TABLE:
        value = _at(results, path)
        if value is not None:
            shown = f"{value:.2f}" if value <= bar else f"**{value:.2f}**"
            lines.append(f"| {text} | {shown} | {bar} | {aim} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.control_plane", description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="default: all")
    parser.add_argument(
        "--api",
        default=EMBEDDED,
        help=f"whose API is followed: {EMBEDDED}, {KUBERNETES} (root, Go) or a kubeconfig's",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, a smaller cluster")
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    configure("error")
    rows = list(chosen.rows or ROWS)
    results = asyncio.run(measure(rows, chosen.api, chosen.quick))
    head = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "api": {
            EMBEDDED: "linkerd.local.apiserver",
            KUBERNETES: f"kube-apiserver {build.version()} and etcd, without fsync",
        }.get(chosen.api, "the cluster of a kubeconfig"),
        "python": platform.python_version(),
        "machine": {"cores": os.cpu_count(), "kernel": platform.release()},
        "quick": chosen.quick,
        "command": "make bench-control"
        if chosen.api == EMBEDDED
        else f"python -m bench.control_plane --api {chosen.api}",
    }
    name = _RESULTS.get(chosen.api, "control-plane-given")
    output: Path = chosen.output or ROOT / "bench/results" / f"{name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({**head, "rows": results}, indent=1) + "\n")
    output.with_suffix(".md").write_text(page(head, results))
    print(table(results))
    print(f"samples: {output}")
    return 0


def _output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
