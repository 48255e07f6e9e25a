"""The table that `make bench` prints: medians, bars and verdicts."""

import statistics
from collections.abc import Mapping
from typing import Any

from cells import CELLS, CONTROL, DIRECT, OURS, Bar
from holding import HELD

WIDTH = 16
TITLE = 46
# Of the rows that are not cells, in the row's unit.
IDLE_MB, LOADED_MB, START_MS, BINARY_MB = Bar(1.4), Bar(2.2), Bar(60), Bar(9)


def print_table(result: Mapping[str, Any]) -> None:
    """Prints what a run found; `✓` and `✗` tell whether ours reaches the bar."""
    rows = list(_rows(result))
    peers = list(dict.fromkeys(peer for _, values, _ in rows for peer in values))
    print("\n" + " " * TITLE + "".join(f"{peer:>{WIDTH}}" for peer in [*peers, "bar"]))
    for title, values, bar in rows:
        line = "".join(_cell(values, peer) for peer in peers)
        print(f"{title:<{TITLE}}{line}{_verdict(values, bar)}")
    print("in brackets: ours as a share of the peer's figure")
    for peer, reason in result["missing"].items():
        print(f"missing: {peer}: {reason}")


def _rows(result: Mapping[str, Any]) -> Any:
    for cell in CELLS:
        found = _medians(result["samples"], cell.name)
        if not found:
            continue
        yield f"{cell.name}, {cell.figure.value}", found, None if cell.added else cell.bar
        if cell.added and DIRECT in found:
            direct = found[DIRECT]
            added = {peer: value - direct for peer, value in found.items() if peer != DIRECT}
            yield f"{cell.name}, added", added, cell.bar
    for held in HELD:
        of = result["held"].get(held.name, {})
        kb = {peer: figures["kb_per_connection"] for peer, figures in of.items()}
        left = {peer: figures["left_percent"] for peer, figures in of.items()}
        yield f"{held.name}, kB, both hops", kb, held.bar
        yield "  of that 10 s after the close, %", left, held.left_bar
    for state, bar in (("idle", IDLE_MB), ("loaded", LOADED_MB)):
        figures = result["memory_kb"][state]
        own = {peer: kb / 1024 for peer, kb in figures.items() if not peer.endswith("-opaque")}
        yield f"{state} proxy, private MB", own, bar
    starts = {peer: statistics.median(ms) for peer, ms in result["start_ms"].items()}
    yield "start to ready, ms", starts, START_MS
    sizes = {peer: size / 1e6 for peer, size in result["binary_bytes"].items() if size}
    yield "binary, MB", sizes, BINARY_MB


def _medians(samples: list[dict[str, Any]], cell: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for sample in samples:
        if sample["cell"] == cell:
            found.setdefault(sample["peer"], []).append(sample["figure"])
    return {peer: statistics.median(figures) for peer, figures in found.items()}


def _cell(values: Mapping[str, float], peer: str) -> str:
    if peer not in values:
        return f"{'–':>{WIDTH}}"
    ratio = ""
    if peer not in (OURS, DIRECT) and OURS in values and values[peer]:
        ratio = f" ({values[OURS] / values[peer]:.2f})"
    return f"{values[peer]:.1f}{ratio}".rjust(WIDTH)


def _verdict(values: Mapping[str, float], bar: Bar | None) -> str:
    if bar is None or OURS not in values:
        return ""
    control = values.get(CONTROL)
    limit, holds = bar.value(control), bar.holds(values[OURS], control)
    if limit is None:
        return f"{'–':>{WIDTH}}"
    return f"{'≥' if bar.at_least else '≤'} {limit:.1f} {'✓' if holds else '✗'}".rjust(WIDTH)
