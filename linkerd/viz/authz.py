"""Samples of inbound traffic by authorization → the rows of `viz authz`. Pure.

Source: linkerd2 viz/metrics-api/authz.go, viz/cmd/authz.go (labels, which rows, columns, keys).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from linkerd.errors import UsageError
from linkerd.gen import viz_pb2 as pb
from linkerd.settings import duration_s
from linkerd.viz import queries, tables
from linkerd.viz.kinds import KINDS
from linkerd.viz.prometheus import Sample
from linkerd.viz.render import Stats, http_cells, stats
from linkerd.viz.stat import Row

_LABELS = ("route_kind", "route_name", "authz_kind", "authz_name", "srv_kind", "srv_name")


class _Key(NamedTuple):
    route_kind: str
    route_name: str
    authz_kind: str
    authz_name: str
    srv_kind: str
    srv_name: str


def query(selected: queries.Object, window: str) -> dict[str, str]:
    """Returns what to ask of Prometheus about one resource.

    Raises:
        UsageError: inbound traffic is not measured by that kind.
    """
    kind = KINDS.get(selected.kind)
    if kind is None or not (kind.owns_pods or kind.name in ("server", "httproute")):
        raise UsageError(f"unsupported resource type [{selected.kind}]")
    own = queries.Matchers()
    if kind.name == "server":
        own.equal("namespace", selected.namespace)
        own.equal("srv_kind", "server").equal("srv_name", selected.name)
    elif kind.name == "httproute":
        own.equal("namespace", selected.namespace).equal("route_name", selected.name)
    else:
        queries.own(own, selected)
    inbound = own.copy().equal("direction", "inbound")
    found = queries.http(inbound, _LABELS, window)
    found["allow"] = queries.increase("inbound_http_authz_allow_total", own, _LABELS, window)
    found["deny"] = queries.increase("inbound_http_authz_deny_total", own, _LABELS, window)
    return found


def rows(
    selected: queries.Object, answers: Mapping[str, Iterable[Sample]], window: str
) -> list[Row]:
    """Returns a row per server, route and authorization that was met, in that order."""
    basic: dict[_Key, pb.BasicStats] = defaultdict(pb.BasicStats)
    server: dict[_Key, pb.ServerStats] = defaultdict(pb.ServerStats)
    for name, samples in answers.items():
        for sample in samples:
            key = _Key(*(sample.labels.get(label, "") for label in _LABELS))
            if not key.srv_name:
                continue
            count = max(0, round(sample.value))
            if name == "allow":
                server[key].allowed_count += count
            elif name == "deny":
                server[key].denied_count += count
            elif name in queries.QUANTILES:
                setattr(basic[key], f"latency_ms_{name}", count)
            elif sample.labels.get("classification") == "success":
                basic[key].success_count += count
            else:
                basic[key].failure_count += count
    found = []
    for key in sorted({*basic, *server}, key=_order):
        traffic = basic[key].success_count + basic[key].failure_count
        met = server[key].allowed_count + server[key].denied_count
        if not traffic and not met and (key.srv_kind == "default" or not key.authz_kind):
            continue
        row = Row(
            resource=pb.Resource(
                namespace=selected.namespace, type=selected.kind, name=selected.name
            ),
            time_window=window,
        )
        if traffic:
            row.stats.CopyFrom(basic[key])
        row.srv_stats.CopyFrom(server[key])
        row.srv_stats.srv.CopyFrom(_resource(selected.namespace, key.srv_kind, key.srv_name))
        row.srv_stats.route.CopyFrom(_resource(selected.namespace, key.route_kind, key.route_name))
        row.srv_stats.authz.CopyFrom(_resource(selected.namespace, key.authz_kind, key.authz_name))
        found.append(row)
    return found


def _resource(namespace: str, kind: str, name: str) -> pb.Resource:
    return pb.Resource(namespace=namespace, type=kind, name=name)


def _order(key: _Key) -> tuple[str, ...]:
    return key.srv_name, key.srv_kind, key.route_name, key.authz_kind, key.authz_name


HEADER = (
    "ROUTE",
    "SERVER",
    "AUTHORIZATION",
    "UNAUTHORIZED",
    "SUCCESS",
    "RPS",
    "LATENCY_P50",
    "LATENCY_P95",
    "LATENCY_P99",
)


def table(found: Sequence[Row]) -> str:
    """Returns the rows as text; empty without rows."""
    lines = [list(HEADER)]
    for row in found:
        names = _names(row)
        lines.append([*names, tables.cell("{:.1f}rps", _denied(row)), *http_cells(stats(row))])
    return tables.aligned(lines, 3) if found else ""


def as_json(found: Iterable[Row]) -> str:
    """Returns the rows as a JSON array; what was not measured has no key."""
    entries = []
    for row in found:
        route, server, authorization = _names(row)
        measured: Stats = stats(row)
        entry: dict[str, Any] = {
            "route": route,
            "server": server,
            "authorization": authorization,
            "unauthorized": _denied(row),
            "success": measured.success,
            "rps": measured.rps,
            "latency_ms_p50": measured.p50_ms,
            "latency_ms_p95": measured.p95_ms,
            "latency_ms_p99": measured.p99_ms,
        }
        entries.append({key: value for key, value in entry.items() if value is not None})
    return json.dumps(entries, indent=2) + "\n"


def _names(row: Row) -> list[str]:
    srv, authz = row.srv_stats.srv, row.srv_stats.authz
    server = f"default:{srv.name}" if srv.type == "default" else srv.name
    authorization = f"{authz.type}/{authz.name}" if authz.type else ""
    return [row.srv_stats.route.name, server, authorization]


def _denied(row: Row) -> float | None:
    met = row.srv_stats.allowed_count + row.srv_stats.denied_count
    return row.srv_stats.denied_count / duration_s(row.time_window) if met else None
