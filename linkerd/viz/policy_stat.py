"""Inbound and outbound traffic by policy resource: queries, rows, tables and JSON. Pure.

Source: linkerd2 viz/cmd/stat_inbound.go, stat_outbound.go (queries, columns, keys, texts).
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from linkerd.errors import UsageError
from linkerd.settings import duration_s
from linkerd.viz import queries, tables
from linkerd.viz.kinds import KINDS
from linkerd.viz.prometheus import Sample

_INBOUND = ("srv_name", "srv_kind", "route_name", "route_kind", "target_port")
_ROUTE = ("parent_name", "parent_port", "route_name", "route_kind")
_BACKEND = ("backend_namespace", "backend_kind", "backend_name", "backend_port")
_PROTOCOLS = {"http": "http_status", "grpc": "grpc_status"}
_TIMEOUTS = frozenset(("RESPONSE_HEADERS_TIMEOUT", "REQUEST_TIMEOUT"))


@dataclass(slots=True)
class Counts:
    """What was counted in the window; latencies in milliseconds."""

    success: float = 0.0
    failure: float = 0.0
    timeouts: float = 0.0
    retries: float = 0.0
    latency_ms: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """All requests."""
        return self.success + self.failure

    def rate(self) -> float | None:
        """Share of successes, 0..1."""
        return self.success / self.total if self.total else None


@dataclass(frozen=True, slots=True, order=True)
class InboundKey:
    """What makes a row of stat-inbound."""

    name: str
    server_kind: str
    server: str
    port: str
    route_kind: str
    route: str


@dataclass(frozen=True, slots=True, order=True)
class OutboundKey:
    """What makes a row of stat-outbound; the rows of a route's backends name those too."""

    name: str
    service: str
    port: str
    route_kind: str
    route: str
    backend: str = ""
    backend_port: str = ""
    backend_namespace: str = ""
    backend_kind: str = ""

    @property
    def parent(self) -> OutboundKey:
        """The route's own key."""
        return OutboundKey(self.name, self.service, self.port, self.route_kind, self.route)


def _matchers(selected: queries.Object) -> tuple[queries.Matchers, str]:
    kind = KINDS.get(selected.kind)
    if kind is None or not kind.owns_pods:
        raise UsageError(f"unsupported resource type [{selected.kind}]")
    matchers = queries.Matchers()
    queries.own(matchers, selected)
    return matchers, kind.label


def inbound_queries(selected: queries.Object, window: str) -> dict[str, str]:
    """Returns what to ask of Prometheus.

    Raises:
        UsageError: that kind measures no inbound traffic.
    """
    matchers, label = _matchers(selected)
    matchers.equal("direction", "inbound")
    by = tuple(dict.fromkeys((*_INBOUND, "namespace", label)))
    return {
        **_latencies("response_latency_ms_bucket", matchers, by, window),
        "requests": queries.increase("response_total", matchers, (*by, "classification"), window),
    }


def inbound(
    selected: queries.Object, answers: Mapping[str, Iterable[Sample]]
) -> dict[InboundKey, Counts]:
    """Returns the rows that saw requests, in order."""
    label = KINDS[selected.kind].label
    rows: dict[InboundKey, Counts] = defaultdict(Counts)
    for name, samples in answers.items():
        for sample in samples:
            get = sample.labels.get
            key = InboundKey(
                get(label, ""),
                get("srv_kind", ""),
                get("srv_name", ""),
                get("target_port", ""),
                get("route_kind", ""),
                get("route_name", ""),
            )
            if name != "requests":
                rows[key].latency_ms[name] = sample.value
            elif get("classification") == "success":
                rows[key].success += sample.value
            else:
                rows[key].failure += sample.value
    return {key: rows[key] for key in sorted(rows) if rows[key].total and key.name}


def _latencies(
    metric: str, matchers: queries.Matchers, by: Iterable[str], window: str
) -> dict[str, str]:
    buckets = f"sum(irate({metric}{matchers}[{window}])) by (le, {', '.join(by)})"
    return {
        name: f"histogram_quantile({quantile}, {buckets})"
        for name, quantile in queries.QUANTILES.items()
    }


def inbound_table(rows: Mapping[InboundKey, Counts], window: str) -> str:
    """Returns the rows as text."""
    columns = [
        tables.Column("NAME", left=True),
        tables.Column("SERVER", left=True),
        tables.Column("ROUTE", left=True),
        tables.Column("TYPE", left=True),
        *map(tables.Column, ("SUCCESS", "RPS", "LATENCY_P50", "LATENCY_P95", "LATENCY_P99")),
    ]
    lines = []
    for key, counts in rows.items():
        default = key.server_kind == "default"
        plain = key.route_kind == "default" or key.route == "default"
        lines.append(
            [
                key.name,
                f"{'[default]' if default else key.server}:{key.port}",
                "[default]" if plain else key.route,
                "" if plain else key.route_kind,
                *_common(counts, window),
            ]
        )
    return tables.ruled(columns, lines)


def inbound_json(rows: Mapping[InboundKey, Counts], window: str) -> str:
    """Returns the rows as a JSON array; the odd key is Linkerd's."""
    return _json(
        {
            "name": key.name,
            "server": key.server,
            "port": key.port,
            "route": key.route,
            "routeType": key.route_kind,
            "successesRate": counts.rate() or 0.0,
            **_json_common(counts, window),
        }
        for key, counts in rows.items()
    )


def outbound_queries(selected: queries.Object, window: str) -> dict[str, str]:
    """Returns what to ask of Prometheus, by `protocol.measure`.

    Raises:
        UsageError: that kind measures no outbound traffic.
    """
    matchers, label = _matchers(selected)
    own = ("namespace", label)
    route = tuple(dict.fromkeys((*_ROUTE, *own)))
    backend = tuple(dict.fromkeys((*_ROUTE, *_BACKEND, *own)))
    asked = {}
    for protocol, status in _PROTOCOLS.items():
        base = f"outbound_{protocol}_route"
        for level, metric, by in (
            ("route", f"{base}_request", route),
            ("backend", f"{base}_backend_response", backend),
        ):
            asked[f"{protocol}.{level}.requests"] = queries.increase(
                f"{metric}_statuses_total", matchers, (*by, status, "error"), window
            )
            buckets = f"{metric}_duration_seconds_bucket"
            for name, query in _latencies(buckets, matchers, by, window).items():
                asked[f"{protocol}.{level}.{name}"] = query
        asked[f"{protocol}.route.retries"] = queries.increase(
            f"{base}_retry_requests_total", matchers, route, window
        )
    return asked


def outbound(
    selected: queries.Object, answers: Mapping[str, Iterable[Sample]]
) -> dict[OutboundKey, Counts]:
    """Returns the rows that saw requests: each route and then its backends, in order."""
    label = KINDS[selected.kind].label
    rows: dict[OutboundKey, Counts] = defaultdict(Counts)
    for name, samples in answers.items():
        protocol, level, measure = name.split(".")
        for sample in samples:
            get = sample.labels.get
            key = OutboundKey(
                get(label, ""),
                get("parent_name", ""),
                get("parent_port", ""),
                get("route_kind", ""),
                get("route_name", ""),
            )
            if level == "backend":
                key = OutboundKey(
                    *(key.name, key.service, key.port, key.route_kind, key.route),
                    get("backend_name", ""),
                    get("backend_port", ""),
                    get("backend_namespace", ""),
                    get("backend_kind", ""),
                )
            counts = rows[key]
            if measure == "requests":
                _count(counts, protocol, sample)
            elif measure == "retries":
                counts.retries += sample.value
            elif sample.value and not math.isnan(sample.value):
                # Both protocols of one route: what answers is there, the other is nothing.
                counts.latency_ms[measure] = sample.value * 1000
    return {key: rows[key] for key in sorted(rows) if key.name and rows[key].total}


def _count(counts: Counts, protocol: str, sample: Sample) -> None:
    error = sample.labels.get("error", "")
    status = sample.labels.get(_PROTOCOLS[protocol], "")
    failed = bool(error) or (status != "OK" if protocol == "grpc" else status.startswith("5"))
    if failed:
        counts.failure += sample.value
    else:
        counts.success += sample.value
    if error in _TIMEOUTS:
        counts.timeouts += sample.value


def outbound_table(rows: Mapping[OutboundKey, Counts], window: str) -> str:
    """Returns the rows as text, backends as branches of their routes."""
    columns = [
        *(tables.Column(name, left=True) for name in ("NAME", "SERVICE", "ROUTE", "TYPE")),
        tables.Column("BACKEND", left=True),
        *map(tables.Column, ("SUCCESS", "RPS", "LATENCY_P50", "LATENCY_P95", "LATENCY_P99")),
        *map(tables.Column, ("TIMEOUTS", "RETRIES")),
    ]
    lines = []
    keys = list(rows)
    for place, key in enumerate(keys):
        counts = rows[key]
        timeouts = _percent(counts.timeouts / counts.total)
        if not key.backend:
            plain = key.route_kind == "default"
            names = [
                key.name,
                f"{key.service}:{key.port}",
                "[default]" if plain else key.route,
                "" if plain else key.route_kind,
                "",
            ]
            retries = _percent(counts.retries / (counts.total + counts.retries))
        else:
            last = place + 1 == len(keys) or keys[place + 1].parent != key.parent
            branch = "└─" if last else "├─"
            names = ["", "", branch, "─", f"─► {key.backend}:{key.backend_port}"]
            retries = ""
        lines.append([*names, *_common(counts, window), timeouts, retries])
    return tables.ruled(columns, lines)


def outbound_json(rows: Mapping[OutboundKey, Counts], window: str) -> str:
    """Returns the rows as a JSON array."""
    entries = []
    for key, counts in rows.items():
        entry: dict[str, Any] = {
            "name": key.name,
            "service": key.service,
            "port": key.port,
            "route": key.route,
            "routeType": key.route_kind,
            "backend": key.backend,
            "backendPort": key.backend_port,
            "successRate": counts.rate() or 0.0,
            **_json_common(counts, window),
            "timeoutRate": counts.timeouts / counts.total,
        }
        if not key.backend:
            entry["retryRate"] = counts.retries / (counts.total + counts.retries)
        entries.append(entry)
    return _json(entries)


def _common(counts: Counts, window: str) -> list[str]:
    return [
        tables.cell("{}", None if counts.rate() is None else _percent(counts.rate() or 0.0)),
        f"{counts.total / duration_s(window):.2f}",
        *(tables.cell("{:.0f}ms", counts.latency_ms.get(name)) for name in queries.QUANTILES),
    ]


def _json_common(counts: Counts, window: str) -> dict[str, float]:
    latencies = {
        f"latencyMs{name.upper()}": counts.latency_ms.get(name, 0.0) for name in queries.QUANTILES
    }
    return {"rps": counts.total / duration_s(window), **latencies}


def _percent(share: float) -> str:
    return f"{share * 100:.2f}%"


def _json(entries: Iterable[dict[str, Any]]) -> str:
    return json.dumps(list(entries), indent=2) + "\n"
