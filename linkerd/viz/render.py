"""Rows and edges → the tables and JSON that `linkerd viz stat` and `edges` print. Pure.

Source: linkerd2 viz/cmd/stat.go, viz/cmd/edges.go (columns, formats, JSON keys).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from linkerd.gen import viz_pb2 as pb
from linkerd.settings import duration_s
from linkerd.viz import tables
from linkerd.viz.kinds import KINDS, Kind
from linkerd.viz.stat import Row

NO_TRAFFIC = "No traffic found."
"""What `stat` says on stderr instead of an empty table."""

NO_EDGES = "No edges found."
"""What `edges` says on stderr instead of an empty table."""

_NO_TCP = ("serverauthorization", "authorizationpolicy", "httproute")


@dataclass(frozen=True, slots=True)
class Stats:
    """Rates of one row; None where nothing was measured."""

    success: float | None = None
    """Share of successful responses, 0..1."""

    rps: float | None = None
    """Responses per second."""

    p50_ms: int | None = None
    p95_ms: int | None = None
    p99_ms: int | None = None


def stats(row: Row) -> Stats:
    """Returns the rates of a row."""
    if not row.HasField("stats"):
        return Stats()
    total = row.stats.success_count + row.stats.failure_count
    window_s = duration_s(row.time_window) if row.time_window else 0.0
    rps = total / window_s if window_s else 0.0
    if total == 0:
        return Stats(rps=rps)
    return Stats(
        success=row.stats.success_count / total,
        rps=rps,
        p50_ms=row.stats.latency_ms_p50,
        p95_ms=row.stats.latency_ms_p95,
        p99_ms=row.stats.latency_ms_p99,
    )


def http_cells(measured: Stats) -> list[str]:
    """Returns success rate, rate and latencies as tables show them."""
    return [
        tables.cell("{:.2f}%", None if measured.success is None else measured.success * 100),
        tables.cell("{:.1f}rps", measured.rps),
        tables.cell("{}ms", measured.p50_ms),
        tables.cell("{}ms", measured.p95_ms),
        tables.cell("{}ms", measured.p99_ms),
    ]


def shown(rows: Iterable[Row], *, unmeshed: bool = False, from_: bool = False) -> list[Row]:
    """Returns the rows that a user wants to see: workloads without meshed pods only on request.

    Args:
        rows: Of any kinds.
        unmeshed: Show them.
        from_: The question was about traffic from somewhere, which its client measured.
    """
    return [
        row
        for row in rows
        if unmeshed or from_ or row.meshed_pod_count > 0 or not KINDS[row.resource.type].owns_pods
    ]


def stat_table(rows: Sequence[Row], *, all_namespaces: bool = False, wide: bool = False) -> str:
    """Returns the tables, one per kind, ordered; empty without rows.

    Args:
        rows: What to print, any kinds.
        all_namespaces: Print a column with the namespace.
        wide: Print bytes per second too.
    """
    groups: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for row in rows:
        groups[row.resource.type].append(row)
    present = {kind: group for kind, group in groups.items() if group}
    tables = [
        _stat_block(KINDS[kind], group, len(present) > 1, all_namespaces, wide)
        for kind, group in present.items()
    ]
    return "\n".join(tables)


def _stat_block(
    kind: Kind, rows: list[Row], prefixed: bool, all_namespaces: bool, wide: bool
) -> str:
    tcp = kind.name not in _NO_TCP
    denials = kind.name in ("server", "httproute")
    header = ["NAMESPACE"] * all_namespaces + ["NAME"]
    left = len(header)
    header += ["STATUS"] * (kind.name == "pod")
    header += ["SERVER"] * (kind.name == "httproute")
    header += ["MESHED"] * (not kind.policy)
    header += ["UNAUTHORIZED"] * denials
    header += ["SUCCESS", "RPS", "LATENCY_P50", "LATENCY_P95", "LATENCY_P99"]
    header += ["TCP_CONN"] * tcp
    header += ["READ_BYTES/SEC", "WRITE_BYTES/SEC"] * (tcp and wide)
    lines = [header]
    for row in sorted(rows, key=lambda row: (row.resource.namespace, row.resource.name)):
        name = f"{kind.short}/{row.resource.name}" if prefixed else row.resource.name
        cells = [row.resource.namespace] * all_namespaces + [name]
        cells += [row.status or tables.NONE] * (kind.name == "pod")
        cells += [row.srv_stats.srv.name or tables.NONE] * (kind.name == "httproute")
        if not kind.policy:
            counts = f"{row.meshed_pod_count}/{row.running_pod_count}"
            cells.append(counts if kind.owns_pods else tables.NONE)
        if denials:
            cells.append(tables.cell("{:.1f}rps", _denied_rate(row)))
        cells += http_cells(stats(row))
        if tcp:
            open_, read, write = _tcp(row)
            cells.append(tables.cell("{}", open_))
            if wide:
                cells += [tables.cell("{:.1f}B/s", read), tables.cell("{:.1f}B/s", write)]
        lines.append(cells)
    return tables.aligned(lines, left)


def stat_json(rows: Iterable[Row]) -> str:
    """Returns the rows as one JSON array, ordered as the tables."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    ordered = sorted(
        rows,
        key=lambda row: (order[row.resource.type], row.resource.namespace, row.resource.name),
    )
    return json.dumps([_json_row(row) for row in ordered], indent=2) + "\n"


def _json_row(row: Row) -> dict[str, Any]:
    kind = KINDS[row.resource.type]
    measured = stats(row)
    entry: dict[str, Any] = {
        "namespace": row.resource.namespace,
        "kind": kind.name,
        "name": row.resource.name,
    }
    if kind.owns_pods:
        entry["meshed"] = f"{row.meshed_pod_count}/{row.running_pod_count}"
    entry |= {
        "success": measured.success,
        "rps": measured.rps,
        "latency_ms_p50": measured.p50_ms,
        "latency_ms_p95": measured.p95_ms,
        "latency_ms_p99": measured.p99_ms,
    }
    open_, read, write = _tcp(row)
    if open_ is not None:
        entry |= {
            "tcp_open_connections": open_,
            "tcp_read_bytes_rate": read,
            "tcp_write_bytes_rate": write,
        }
    if kind.name in ("server", "httproute") and (denied := _denied_rate(row)) is not None:
        entry["unauthorized"] = denied
    return entry


def edges_table(edges: Sequence[pb.Edge], *, wide: bool = False) -> str:
    """Returns the table of edges; empty without edges."""
    if not edges:
        return ""
    header = ["SRC", "DST", "SRC_NS", "DST_NS"]
    header += ["CLIENT_ID", "SERVER_ID"] * wide
    header += ["SECURED"]
    lines = [header]
    for edge in edges:
        cells = [edge.src.name, edge.dst.name, edge.src.namespace, edge.dst.namespace]
        cells += [edge.client_id or tables.NONE, edge.server_id or tables.NONE] if wide else []
        cells += [edge.no_identity_msg or "√"]
        lines.append([cell or tables.NONE for cell in cells])
    return tables.aligned(lines, len(header))


def edges_json(edges: Iterable[pb.Edge]) -> str:
    """Returns the edges as one JSON array."""
    entries = [
        {
            "src": edge.src.name,
            "src_namespace": edge.src.namespace,
            "dst": edge.dst.name,
            "dst_namespace": edge.dst.namespace,
            "client_id": edge.client_id,
            "server_id": edge.server_id,
            "no_tls_reason": edge.no_identity_msg,
        }
        for edge in edges
    ]
    return json.dumps(entries, indent=2) + "\n"


def _tcp(row: Row) -> tuple[int | None, float | None, float | None]:
    if not row.HasField("tcp_stats"):
        return None, None, None
    tcp = row.tcp_stats
    window_s = duration_s(row.time_window) if row.time_window else 0.0
    if not window_s:
        return tcp.open_connections, 0.0, 0.0
    return tcp.open_connections, tcp.read_bytes_total / window_s, tcp.write_bytes_total / window_s


def _denied_rate(row: Row) -> float | None:
    """Denied requests per second; Linkerd prints a share under this name."""
    window_s = duration_s(row.time_window) if row.time_window else 0.0
    counted = row.srv_stats.allowed_count + row.srv_stats.denied_count
    return row.srv_stats.denied_count / window_s if counted and window_s else None
