"""Events → which requests there are, how often, how fast, how well. Pure.

The three events of a request are joined by its connection and stream; requests by who called whom
with what. Both tables are bounded: the oldest open request, the rarest row go first.
Source: linkerd2 viz/cmd/top.go (columns, what a success is, rounding).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration

from linkerd.gen import viz_net_pb2
from linkerd.gen import viz_tap_pb2 as tap
from linkerd.viz.tap.hydrate import text
from linkerd.viz.tap.render import address, method

PENDING_MAX = 8192
ROWS_MAX = 2048

_FAILED_GRPC = frozenset((2, 4, 13, 14, 15))


class Key(NamedTuple):
    """What makes a row: who calls whom with what; an empty source when sources are hidden."""

    source: str
    destination: str
    method: str
    path: str


@dataclass(slots=True)
class Row:
    """What is known of one kind of request; times in seconds."""

    key: Key
    count: int = 0
    successes: int = 0
    best_s: float = 0.0
    worst_s: float = 0.0
    last_s: float = 0.0

    @property
    def success_rate(self) -> float:
        """Share of requests that went well, 0..1."""
        return self.successes / self.count if self.count else 0.0

    def add(self, latency_s: float, success: bool) -> None:
        """Counts one request."""
        self.best_s = latency_s if self.count == 0 else min(self.best_s, latency_s)
        self.worst_s = max(self.worst_s, latency_s)
        self.last_s = latency_s
        self.count += 1
        self.successes += success


class _Open(NamedTuple):
    key: Key
    status: int


class Top:
    """Feed it with events; read `rows`."""

    def __init__(self, *, hide_sources: bool = False, routes: bool = False) -> None:
        self._hide_sources = hide_sources
        self._routes = routes
        self._open: OrderedDict[tuple[str, str, int, int, int], _Open] = OrderedDict()
        self._rows: dict[Key, Row] = {}

    def take(self, event: tap.TapEvent) -> Row | None:
        """Takes an event; returns the row that it completed a request of."""
        kind = event.http.WhichOneof("event")
        if kind == "request_init":
            init = event.http.request_init
            path = init.path
            if self._routes:
                path = event.route_meta.labels.get("route", "") or "[DEFAULT]"
            source = "" if self._hide_sources else _name(event.source, event.source_meta)
            key = Key(
                source,
                _name(event.destination, event.destination_meta),
                method(init.method),
                path,
            )
            while len(self._open) >= PENDING_MAX:
                self._open.popitem(last=False)
            self._open[_stream(event, init.id)] = _Open(key, 0)
        elif kind == "response_init":
            response = event.http.response_init
            stream = _stream(event, response.id)
            waiting = self._open.get(stream)
            if waiting is not None:
                self._open[stream] = waiting._replace(status=response.http_status)
        elif kind == "response_end":
            end = event.http.response_end
            ended = self._open.pop(_stream(event, end.id), None)
            if ended is not None:
                return self._count(ended, end)
        return None

    def _count(self, ended: _Open, end: tap.TapEvent.Http.ResponseEnd) -> Row:
        row = self._rows.get(ended.key)
        if row is None:
            if len(self._rows) >= ROWS_MAX:
                del self._rows[min(self._rows, key=lambda key: self._rows[key].count)]
            row = self._rows[ended.key] = Row(ended.key)
        row.add(_seconds(end.since_request_init), succeeded(ended.status, end))
        return row

    def rows(self) -> Iterator[Row]:
        """Yields the rows, the most frequent first."""
        yield from sorted(self._rows.values(), key=lambda row: (-row.count, row.key))


def succeeded(status: int, end: tap.TapEvent.Http.ResponseEnd) -> bool:
    """Returns whether a request went well."""
    kind = end.eos.WhichOneof("end")
    if kind == "reset_error_code" or status >= 500:
        return False
    return kind != "grpc_status_code" or end.eos.grpc_status_code not in _FAILED_GRPC


def _name(where: viz_net_pb2.TcpAddress, meta: tap.TapEvent.EndpointMeta) -> str:
    return meta.labels.get("pod", "") or text(where.ip)


def _stream(
    event: tap.TapEvent, stream: tap.TapEvent.Http.StreamId
) -> tuple[str, str, int, int, int]:
    ends = address(event.source), address(event.destination)
    return (*ends, event.proxy_direction, stream.base, stream.stream)


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def duration_text(seconds: float) -> str:
    """Returns a latency in the unit that suits it, as Linkerd rounds it."""
    if seconds < 0.001:
        return f"{round(seconds * 1e6)}µs"
    if seconds < 1:
        return f"{round(seconds * 1e3)}ms"
    whole = round(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
