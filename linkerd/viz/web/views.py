"""Rows of statistics → the JSON that the dashboard's pages show. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from linkerd.errors import UsageError
from linkerd.gen import viz_pb2 as pb
from linkerd.viz import render
from linkerd.viz.client import stat_request
from linkerd.viz.kinds import KINDS, Target
from linkerd.viz.stat import Row

WINDOWS = ("30s", "1m", "5m", "10m", "1h")
"""Time windows that a page may ask for: few, so that browsers share their queries."""


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows; equal views share one poll of metrics-api."""

    kind: str = "namespace"
    namespace: str = ""
    window: str = "1m"

    def request(self) -> pb.StatSummaryRequest:
        """Returns the question to metrics-api."""
        return stat_request(Target(self.kind, ""), self.namespace, window=self.window)


def view(kind: str = "namespace", namespace: str = "", window: str = "1m") -> View:
    """Returns the view that a browser asks for.

    Raises:
        UsageError: there is no such view.
    """
    if kind not in KINDS or not (KINDS[kind].owns_pods or kind == "service"):
        raise UsageError(f"there is no view of {kind!r}")
    if window not in WINDOWS:
        raise UsageError(f"window {window!r} is not one of {', '.join(WINDOWS)}")
    if len(namespace) > 63:
        raise UsageError("no namespace has a name of more than 63 characters")
    return View(kind, "" if kind == "namespace" else namespace, window)


def content(asked: View, rows: Iterable[Row]) -> dict[str, Any]:
    """Returns what a page shows of a view."""
    return {
        "kind": asked.kind,
        "namespace": asked.namespace,
        "window": asked.window,
        "rows": [_row(row) for row in rows],
    }


def _row(row: Row) -> dict[str, Any]:
    measured = render.stats(row)
    return {
        "namespace": row.resource.namespace,
        "name": row.resource.name,
        "meshed": row.meshed_pod_count,
        "pods": row.running_pod_count,
        "failed": row.failed_pod_count,
        "errors": _errors(row),
        "success": measured.success,
        "rps": measured.rps,
        "p50": measured.p50_ms,
        "p95": measured.p95_ms,
        "p99": measured.p99_ms,
        "tcp": row.tcp_stats.open_connections if row.HasField("tcp_stats") else None,
    }


def _errors(row: Row) -> list[str]:
    """Why containers are not ready, a line per pod; the first ten."""
    lines = []
    for name, errors in sorted(row.errors_by_pod.items()):
        for error in errors.errors[:1]:
            container = error.container
            lines.append(f"{name}/{container.container}: {container.reason}")
    return lines[:10]
