"""Instructions per request: what our proxies execute in user space, counted by callgrind.

Needs root and valgrind. Counts hardly depend on who else uses the machine, so they tell small
changes apart where times cannot. Writes bench/results/instructions.json, compares it with what was
there, and fails when a figure has grown by more than the tolerance.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from cells import TWELVE_HEADERS, Cell, Figure, answers, http, load
from peers import BUILT, PROXY, ROOT, start_backend, start_linkerd
from rig import START_WITHIN_S, Pair, RigError, remove_leftovers, sh
from run import version_of

WORK = ROOT / "target" / "bench" / "instructions"
RECORD = ROOT / "bench" / "results" / "instructions.json"
CELLS = (
    Cell("HTTP/1 1x1", Figure.COST, http(1, 1, 1)),
    Cell("HTTP/1 1x1, 12 headers", Figure.COST, http(1, 1, 1, *TWELVE_HEADERS)),
    Cell("HTTP/2 1x1", Figure.COST, http(2, 1, 1)),
    Cell("HTTP/2 1x16", Figure.COST, http(2, 1, 16)),
)
SIDES = ("server", "client")
# Under valgrind everything takes some fifty times as long.
SLOWER = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="counted time of a cell")
    parser.add_argument("--tolerance", type=float, default=2.0, help="growth allowed, in percent")
    args = parser.parse_args()
    if not (BUILT / "linkerd-proxy").exists():
        print("instructions: build first: cargo build --release", file=sys.stderr)
        return 1
    before = json.loads(RECORD.read_text())["per_request"] if RECORD.exists() else {}
    try:
        found = measure(args.seconds)
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


def measure(seconds: float) -> dict[str, dict[str, int]]:
    """Instructions per request of each cell, by side."""
    remove_leftovers()
    pair = Pair("instructions", WORK)
    try:
        start_backend(pair)
        pair.redirect([PROXY, "init"])
        start_linkerd(pair, callgrind)
        deadline = time.monotonic() + START_WITHIN_S * SLOWER
        while not answers(pair, *CELLS):
            if time.monotonic() > deadline:
                raise RigError("the proxies pass no request")
            time.sleep(1)
        return {cell.name: count(pair, cell, seconds) for cell in CELLS}
    finally:
        pair.close()


def callgrind(side: str) -> list[str]:
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file=/tmp/l5dbench-{side}.callgrind"]


def count(pair: Pair, cell: Cell, seconds: float) -> dict[str, int]:
    load(pair, cell, 1.0)
    for process in pair.proxies:
        sh(f"timeout 60 callgrind_control --zero {process.pid}")
    report = load(pair, cell, seconds)
    completed = report["completed"]
    if not isinstance(completed, int) or not completed or report["failed"]:
        raise RigError(f"{cell.name}: {report['failed']} of {completed} requests failed")
    found = {}
    for side, process in zip(SIDES, pair.proxies, strict=True):
        sh(f"timeout 60 callgrind_control --dump=cell {process.pid}")
        dumps = sorted(Path("/tmp").glob(f"l5dbench-{side}.callgrind.*"), key=number)
        total = re.findall(r"^(?:totals|summary): (\d+)", dumps[-1].read_text(), re.MULTILINE)
        found[side] = int(total[-1]) // completed
        for dump in dumps:
            dump.unlink()
    return found


def number(path: Path) -> int:
    return int(path.suffix[1:])


def report(
    before: dict[str, dict[str, int]], found: dict[str, dict[str, int]], tolerance: float
) -> int:
    """Prints the figures beside the previous ones; 1 when one has grown too much."""
    worse = 0
    for cell, sides in found.items():
        for side, now in sides.items():
            old = before.get(cell, {}).get(side)
            change = "" if old is None else f"{(now / old - 1) * 100:+.1f} %"
            print(f"{cell:<26}{side:<8}{now:>10}  {change}")
            worse |= old is not None and now > old * (1 + tolerance / 100)
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
