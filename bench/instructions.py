"""Instructions and system calls per request: what our proxies execute, counted by callgrind.

Calls include readings of the clock, which are system calls under valgrind only. Needs root and
valgrind. Counts hardly depend on who else uses the machine, so they tell small changes apart where
times cannot. Writes bench/results/instructions.json, compares it with what was there, and fails
when instructions have grown by more than the tolerance.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import time

from cells import TWELVE_HEADERS, Cell, Figure, http, load, number, octets
from peers import BUILT, HTTP1, LOADGEN, PROXY, ROOT, start_backend, start_linkerd
from rig import PROXY_UID, START_WITHIN_S, Pair, RigError, Side, as_user, remove_leftovers
from run import version_of

WORK = ROOT / "target" / "bench" / "instructions"
RECORD = ROOT / "bench" / "results" / "instructions.json"
CELLS = (
    Cell("HTTP/1 1x1", Figure.COST, http(1, 1, 1)),
    Cell("HTTP/1 32x1", Figure.COST, http(1, 32, 1)),
    Cell("HTTP/1 32x1, 12 headers", Figure.COST, http(1, 32, 1, *TWELVE_HEADERS)),
    Cell("HTTP/2 32x1", Figure.COST, http(2, 32, 1)),
    Cell("HTTP/2 4x16", Figure.COST, http(2, 4, 16)),
    Cell("HTTP/1 churn", Figure.COST, octets("churn", 16, HTTP1, "--get", "web")),
)
SIDES = ("server", "client")
# Under valgrind everything takes some fifty times as long.
SLOWER = 20
ENOUGH = 500
CELL_WITHIN_S = 180.0

Counts = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=ENOUGH, help="counted in each cell")
    parser.add_argument("--tolerance", type=float, default=2.0, help="growth allowed, in percent")
    args = parser.parse_args()
    if not (BUILT / "linkerd-proxy").exists():
        print("instructions: build first: cargo build --release", file=sys.stderr)
        return 1
    before = json.loads(RECORD.read_text())["per_request"] if RECORD.exists() else {}
    try:
        found = measure(args.requests)
    except (RigError, subprocess.CalledProcessError) as error:
        print(f"instructions: {error}", file=sys.stderr)
        return 1
    record = {
        "command": "python bench/instructions.py",
        "commit": version_of("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "valgrind": version_of("valgrind", "--version"),
        "per_request": found,
    }
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    return report(before, found, args.tolerance)


def measure(requests: int) -> dict[str, dict[str, Counts]]:
    """Counts per request of each cell, by side."""
    remove_leftovers()
    pair = Pair("instructions", WORK)
    WORK.chmod(0o777)
    try:
        start_backend(pair)
        pair.redirect([PROXY, "init"])
        start_linkerd(pair, callgrind)
        return {cell.name: count(pair, cell, requests) for cell in CELLS}
    finally:
        pair.close()


def callgrind(side: str) -> list[str]:
    file = f"--callgrind-out-file={WORK}/{side}.callgrind"
    return ["valgrind", "--tool=callgrind", "--collect-systime=yes", file]


def count(pair: Pair, cell: Cell, requests: int) -> dict[str, Counts]:
    warm_up(pair, cell)
    proxies = list(zip(SIDES, (pair.server, pair.client), pair.proxies, strict=True))
    for _, namespace, process in proxies:
        command(namespace, process, "zero")
    completed, deadline = 0, time.monotonic() + CELL_WITHIN_S
    while completed < requests:
        if time.monotonic() > deadline:
            raise RigError(f"{cell.name}: {completed} requests within {CELL_WITHIN_S} s")
        report = load(pair, cell, 2.0)
        if report["failed"]:
            raise RigError(f"{cell.name}: {report['failed']} requests failed")
        completed += int(number(report, "completed"))
    found = {}
    for side, namespace, process in proxies:
        command(namespace, process, "dump", cell.name)
        (dump,) = WORK.glob(f"{side}.callgrind.*")
        total = re.findall(r"^summary: (\d+) (\d+)", dump.read_text(), re.MULTILINE)
        instructions, calls = (int(text) / completed for text in total[-1])
        found[side] = {"instructions": round(instructions), "calls": round(calls, 1)}
        dump.unlink()
    return found


def warm_up(pair: Pair, cell: Cell) -> None:
    """Returns once this kind of load comes through without a failure."""
    deadline = time.monotonic() + START_WITHIN_S * SLOWER
    while True:
        with contextlib.suppress(RigError):
            report = load(pair, cell, 2.0)
            if report["completed"] and not report["failed"]:
                return
        if time.monotonic() > deadline:
            raise RigError(f"{cell.name}: the proxies pass no request")


def command(namespace: Side, process: subprocess.Popen[bytes], *words: str) -> None:
    """Has callgrind do something, which it does only while the process runs code: so it is asked
    whether it is ready meanwhile, which costs less than one request.
    """
    vgdb = [*as_user(PROXY_UID), "vgdb", f"--pid={process.pid}", "--max-invoke-ms=0", *words]
    deadline = time.monotonic() + START_WITHIN_S * SLOWER
    with subprocess.Popen(vgdb, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asked:
        while asked.poll() is None:
            if time.monotonic() > deadline:
                asked.kill()
                raise RigError(f"callgrind does not answer to {words[0]}")
            ready = "--url http://127.0.0.1:4191/ready --rate 20 --seconds 0.1"
            namespace.run(f"timeout 20 {LOADGEN} {ready}")
    if asked.returncode:
        raise RigError(f"vgdb ended with {asked.returncode} after {words[0]}")


def report(
    before: dict[str, dict[str, Counts]], found: dict[str, dict[str, Counts]], tolerance: float
) -> int:
    """Prints the figures beside the previous ones; 1 when one has grown too much."""
    worse = 0
    for cell, sides in found.items():
        for side, counts in sides.items():
            line = f"{cell:<26}{side:<8}"
            for what, now in counts.items():
                old = before.get(cell, {}).get(side, {}).get(what)
                change = "" if old is None else f"{(now / old - 1) * 100:+.1f} %"
                line += f"{now:>10} {what} {change:<9}"
                # How many requests share a call depends on who else uses the machine.
                if old is not None and what == "instructions":
                    worse |= now > old * (1 + tolerance / 100)
            print(line)
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
