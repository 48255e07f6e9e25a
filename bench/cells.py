"""What is measured: kinds of load, what each tells, and the bars that ours shall meet."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from peers import BYTES, HTTP1, HTTP2, LOADGEN
from rig import LOAD_CORE, PROXY_CORE, SERVER_IP, SERVICE_IP, Pair, RigError, cpu_ns

OURS, CONTROL, DIRECT = "linkerd", "haproxy", "direct"
# What browsers and services usually send along.
TWELVE_HEADERS = (
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language: en-GB,en;q=0.7,de;q=0.3",
    "accept-encoding: gzip, deflate, br",
    "cache-control: max-age=0",
    "cookie: session=8c2f0b7e5d1a4963b7f0c2d1e4a59687; theme=dark; lang=en",
    "referer: http://web.bench.svc.cluster.local/list?page=2",
    "x-request-id: 4a7d1ed4-1474-4e1f-9c8a-2f6b5c0d9e83",
    "x-forwarded-for: 10.231.0.77",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    "if-none-match: W/5f3c-19b2a7",
    "dnt: 1",
)


class Figure(StrEnum):
    """What a cell tells, from the sample's fields."""

    COST = "µs CPU, both hops"
    P50 = "p50 µs"
    GBIT = "Gbit/s per core, both hops"


@dataclass(frozen=True)
class Bar:
    """What ours shall reach: a number, or a share of the control's figure of the same run."""

    limit: float
    of_control: bool = False
    at_least: bool = False

    def value(self, control: float | None) -> float | None:
        """The limit as a number; `None` when the control is missing."""
        if not self.of_control:
            return self.limit
        return None if control is None else self.limit * control

    def holds(self, figure: float, control: float | None) -> bool | None:
        """Whether a figure of ours reaches it."""
        limit = self.value(control)
        if limit is None:
            return None
        return figure >= limit if self.at_least else figure <= limit


@dataclass(frozen=True)
class Cell:
    """One kind of load.

    `words` are loadgen's; `{ip}` stands for the service. `one_core` puts the proxies beside
    generator and backend; `opaque` takes the peers' pairs that carry bytes; `stock` takes a pair whose
    server's proxy knows nothing that Linkerd's does not, and only peers that have one. `added` takes
    the direct run's figure off before looking at the bar.
    """

    name: str
    figure: Figure
    words: tuple[str, ...]
    bar: Bar | None = None
    one_core: bool = False
    opaque: bool = False
    stock: bool = False
    added: bool = False

    @property
    def is_direct(self) -> bool:
        """Whether it tells something of a path without proxies."""
        return self.figure is Figure.P50


def http(version: int, connections: int, streams: int, *headers: str) -> tuple[str, ...]:
    """Requests one after the other on every stream of every connection."""
    port = HTTP1 if version == 1 else HTTP2
    words = ("--url", f"http://{{ip}}:{port}/", "--http", str(version))
    more = tuple(word for header in headers for word in ("--header", header))
    return (*words, "--connections", str(connections), "--streams", str(streams), *more)


def octets(action: str, connections: int, port: int = BYTES, *more: str) -> tuple[str, ...]:
    """Bytes, or connections that come and go."""
    return ("bytes", action, "--to", f"{{ip}}:{port}", "--connections", str(connections), *more)


CELLS = (
    Cell("HTTP/1 32x1", Figure.COST, http(1, 32, 1), Bar(0.85, of_control=True)),
    Cell("HTTP/2 32x1", Figure.COST, http(2, 32, 1), Bar(0.85, of_control=True)),
    Cell("HTTP/2 4x16", Figure.COST, http(2, 4, 16), Bar(0.75, of_control=True)),
    Cell(
        "HTTP/1 32x1, 12 headers",
        Figure.COST,
        http(1, 32, 1, *TWELVE_HEADERS),
        Bar(0.85, of_control=True),
    ),
    Cell("HTTP/1 1x1", Figure.P50, http(1, 1, 1)),
    Cell("HTTP/1 1x1, one core", Figure.P50, http(1, 1, 1), Bar(40), one_core=True, added=True),
    Cell("opaque mTLS, up", Figure.GBIT, octets("up", 1), Bar(5.2, at_least=True), opaque=True),
    Cell("opaque mTLS, down", Figure.GBIT, octets("down", 1), Bar(5.8, at_least=True), opaque=True),
    Cell("opaque connect-request-close", Figure.COST, octets("churn", 16), Bar(110), opaque=True),
    Cell(
        "opaque connect-request-close, stock peer",
        Figure.COST,
        octets("churn", 16),
        Bar(560),
        stock=True,
    ),
    Cell(
        "HTTP/1 connect-request-close",
        Figure.COST,
        octets("churn", 16, HTTP1, "--get", "web"),
        Bar(45),
    ),
)


def run_cell(pair: Pair, cell: Cell, seconds: float) -> dict[str, object]:
    """One sample: what loadgen reports, and the proxies' time for it."""
    if cell.one_core:
        pair.pin_proxies(LOAD_CORE)
    try:
        load(pair, cell, min(1.0, seconds / 4))
        before = cpu_ns(pair.proxies)
        report = load(pair, cell, seconds)
        spent = cpu_ns(pair.proxies) - before
    finally:
        if cell.one_core:
            pair.pin_proxies(PROXY_CORE)
    completed = number(report, "completed")
    if not completed or report["failed"]:
        raise RigError(f"{pair.name}, {cell.name}: {report['failed']} of {completed:.0f} failed")
    return {**report, "cpu_us": spent / 1000, "figure": figure(cell, report, spent)}


def figure(cell: Cell, report: Mapping[str, object], cpu_ns_spent: int) -> float:
    """What the cell tells of one run."""
    match cell.figure:
        case Figure.COST:
            return cpu_ns_spent / number(report, "completed") / 1000
        case Figure.P50:
            latency = report["latency_us"]
            assert isinstance(latency, dict)
            return float(latency["p50"])
        case Figure.GBIT:
            # Without proxies there is no share of a core.
            return number(report, "octets") * 8 / cpu_ns_spent if cpu_ns_spent else 0.0


def load(pair: Pair, cell: Cell, seconds: float) -> dict[str, object]:
    """Runs loadgen in the pair's client and returns its report."""
    ip = SERVER_IP if pair.name == DIRECT else SERVICE_IP
    words = [word.format(ip=ip) for word in cell.words]
    command = [*pair.client.within, "taskset", "-c", str(LOAD_CORE), LOADGEN, *words]
    command += ["--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"{pair.name}, {cell.name}: {done.stderr.strip()}")
    report: dict[str, object] = json.loads(done.stdout)
    return report


def answers(pair: Pair, *cells: Cell) -> bool:
    """Whether these kinds of load come through without a failure."""
    try:
        reports = [load(pair, cell, 0.2) for cell in cells]
    except RigError:
        return False
    return all(report["completed"] and not report["failed"] for report in reports)


def number(report: Mapping[str, object], key: str) -> float:
    """A number of a report."""
    value = report[key]
    assert isinstance(value, int | float), f"{key} is no number"
    return float(value)
