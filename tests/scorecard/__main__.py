"""`make scorecard`: what the proxy stands, one line a claim.

Needs root (network namespaces). Prints `Rnn name value unit bar PASS|FAIL` as results come, writes
them to bench/results/scorecard.json beside those of earlier runs of other rows, and the table of
docs/scorecard.md. Ends with 1 when a line fails.
"""

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from bench.rig import RigError
from tests.scorecard import mesh
from tests.scorecard.mesh import ROOT, build
from tests.scorecard.rows import Check, Line

RESULTS = ROOT / "bench" / "results" / "scorecard.json"
DOCUMENT = ROOT / "docs" / "scorecard.md"
# Row, module of this package, and what it claims; each module has `check`.
ROWS = {
    "R21": ("smuggling", "No bytes make the backend see a request that the client did not send"),
    "R22": ("authorization", "Nobody gets in whom the policy keeps out, in any spelling"),
    "R28": (
        "admin",
        "From afar the admin port shows liveness, readiness, metrics, and does nothing",
    ),
    "R13": ("drain", "A proxy that is told to end finishes its work first"),
    "R20": ("conformance", "The protocols pass as their documents say, and byte for byte"),
    "R24": ("handshakes", "Bad and slow TLS handshakes are refused, and hurt nobody else"),
    "R16": (
        "starvation",
        "Without descriptors, memory, time or disk the proxy sheds, and recovers",
    ),
    "R11": ("failover", "Who dies takes only its own requests along"),
    "R07": ("headless", "Without a control plane what is known goes on"),
    "R30": ("ledger", "Nothing is lost and nothing is done twice"),
    "R06": ("labels", "Names that clients make up do not become memory"),
    "R02": ("burst", "What a burst takes is little, and is given back"),
    "R01": ("sustained", "A steady load for minutes changes nothing"),
    "R25": ("slow", "Slow clients lose their connection or cost little, and hurt nobody else"),
    "R19": ("attacks", "Attacks on HTTP/2 are cut, and cost neither memory nor other clients"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", help=f"some of {' '.join(ROWS)}; all by default")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--proxy", type=Path, help="a proxy built elsewhere, such as a debug build")
    parser.add_argument("--dry", action="store_true", help="write no files")
    args = parser.parse_args()
    unknown = set(args.rows) - set(ROWS)
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        print("scorecard: network namespaces need root; run it as root", file=sys.stderr)
        return 1
    if args.proxy:
        mesh.PROXY = args.proxy.resolve()
    elif not args.no_build:
        build()
    passed = True
    for row in args.rows or ROWS:
        begun = time.monotonic()
        lines = _run(row)
        passed &= all(line.passed for line in lines)
        if not args.dry:
            _record(row, lines, time.monotonic() - begun)
            DOCUMENT.write_text(render(json.loads(RESULTS.read_text())))
    return 0 if passed else 1


def _run(row: str) -> list[Line]:
    check: Check = importlib.import_module(f"tests.scorecard.{ROWS[row][0]}").check
    lines = []
    try:
        for line in check():
            print(line, flush=True)
            lines.append(line)
    except (RigError, OSError) as error:
        # A row that could not be measured has failed: silence would read as success.
        line = Line(row, "measured", 0, "runs", "=1", False, f"{type(error).__name__}: {error}")
        print(line, flush=True)
        lines.append(line)
    return lines


def _record(row: str, lines: list[Line], seconds: float) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    results["machine"] = _machine()
    results["rows"][row] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "seconds": round(seconds, 1),
        "load": round(os.getloadavg()[0], 1),
        "lines": [line.as_json() for line in lines],
    }
    results["rows"] = dict(sorted(results["rows"].items()))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _machine() -> dict[str, object]:
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": f"{os.cpu_count()} × {models[0] if models else platform.machine()}",
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
    }


def render(results: dict[str, dict[str, dict[str, object]]]) -> str:
    """The document for a result file."""
    machine = results["machine"]
    parts = [
        "# Scorecard",
        "",
        "What the proxy stands, measured from outside on real processes in network namespaces."
        " Written by `make scorecard` (as root); the raw lines are in `bench/results/scorecard.json`."
        " `python -m tests.scorecard R21` runs one row.",
        "",
        f"Machine: {machine['processors']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}.",
    ]
    for row, result in results["rows"].items():
        lines = result["lines"]
        assert isinstance(lines, list)
        passed = sum(bool(line["passed"]) for line in lines)
        parts += [
            "",
            f"## {row} {ROWS[row][1] if row in ROWS else ''}".rstrip(),
            "",
            f"{passed} of {len(lines)} · {str(result['date'])[:10]} · commit {result['commit']}"
            f" · {result['seconds']} s · load {result['load']}",
            "",
            "| check | value | bar | |",
            "|---|---|---|---|",
        ]
        for line in lines:
            verdict = "pass" if line["passed"] else f"**fail** {_cell(line['note'])}".rstrip()
            parts.append(
                f"| {line['name']} | {line['value']:g} {line['unit']} | {_cell(line['bar'])} | {verdict} |"
            )
    return "\n".join(parts) + "\n"


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("<=", "≤ ").replace(">=", "≥ ").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
