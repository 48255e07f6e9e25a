"""What the dashboard's pages show, as JSON: which view is asked for, and its content. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from linkerd.errors import UsageError
from linkerd.gen import viz_pb2 as pb
from linkerd.settings import duration_s
from linkerd.viz import render
from linkerd.viz.client import stat_request
from linkerd.viz.kinds import KINDS, Target
from linkerd.viz.queries import Object
from linkerd.viz.stat import Row
from linkerd.viz.web.trends import Key, Trend

WINDOWS = ("30s", "1m", "5m", "10m", "1h")
"""Time windows that a page may ask for: few, so that browsers share their queries."""

PAGES = ("table", "namespace", "detail", "graph", "mesh")
"""Live views: rows of a kind, all of a namespace, a resource with neighbours, who calls whom, the mesh."""

_NAME_MAX = 253

Trends = Mapping[Key, Trend]


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows; equal views share one poll of metrics-api."""

    kind: str = "namespace"
    namespace: str = ""
    window: str = "1m"
    page: str = "table"
    name: str = ""

    def request(self) -> pb.StatSummaryRequest:
        """Returns the question to metrics-api."""
        return stat_request(Target(self.kind, self.name), self.namespace, window=self.window)

    def selected(self) -> Object:
        """Returns what traffic is asked about."""
        if self.page in ("graph", "namespace"):
            return Object("namespace", "", self.namespace)
        return Object(self.kind, self.namespace, self.name)


def view(
    kind: str = "namespace",
    namespace: str = "",
    window: str = "1m",
    *,
    page: str = "table",
    name: str = "",
) -> View:
    """Returns the view that a browser asks for.

    Raises:
        UsageError: there is no such view.
    """
    if page not in PAGES or (page == "detail") != bool(name):
        raise UsageError(f"there is no view of {page!r}")
    if kind not in KINDS or not (KINDS[kind].owns_pods or kind == "service"):
        raise UsageError(f"there is no view of {kind!r}")
    if window not in WINDOWS:
        raise UsageError(f"window {window!r} is not one of {', '.join(WINDOWS)}")
    if len(namespace) > 63 or len(name) > _NAME_MAX:
        raise UsageError(f"nothing has a name of more than {_NAME_MAX} characters")
    alone = kind == "namespace" and page not in ("graph", "namespace")
    return View(kind, "" if alone else namespace, window, page, name)


def content(asked: View, rows: Iterable[Row], drawn: Trends) -> dict[str, Any]:
    """Returns what a page shows of a view."""
    return {
        "kind": asked.kind,
        "namespace": asked.namespace,
        "window": asked.window,
        "rows": [row_of(row, drawn) for row in rows],
    }


def row_of(row: Row, drawn: Trends | None = None) -> dict[str, Any]:
    """Returns one row of a table, with its trend if there is one."""
    measured = render.stats(row)
    name = row.resource.name
    own = "" if row.resource.type == "namespace" else row.resource.namespace
    window_s = duration_s(row.time_window) if row.time_window else 0.0
    tcp = row.tcp_stats if row.HasField("tcp_stats") and window_s else None
    return {
        "namespace": row.resource.namespace,
        "name": name,
        "status": row.status,
        "meshed": row.meshed_pod_count,
        "pods": row.running_pod_count,
        "failed": row.failed_pod_count,
        "errors": _errors(row),
        "success": measured.success,
        "rps": measured.rps,
        "p50": measured.p50_ms,
        "p95": measured.p95_ms,
        "p99": measured.p99_ms,
        "tcp": tcp.open_connections if tcp else None,
        "read": round(tcp.read_bytes_total / window_s, 1) if tcp else None,
        "write": round(tcp.write_bytes_total / window_s, 1) if tcp else None,
        "trend": (drawn or {}).get((own, name)),
    }


def _errors(row: Row) -> list[str]:
    """Why containers are not ready, a line per pod; the first ten."""
    lines = []
    for name, errors in sorted(row.errors_by_pod.items()):
        for error in errors.errors[:1]:
            container = error.container
            lines.append(f"{name}/{container.container}: {container.reason}")
    return lines[:10]


def pod_of(pod: pb.Pod) -> dict[str, Any]:
    """Returns a pod as the detail and mesh pages show it."""
    namespace, _, name = pod.name.partition("/")
    owner = pod.WhichOneof("owner")
    return {
        "namespace": namespace,
        "name": name,
        "ip": pod.podIP,
        "status": pod.status,
        "meshed": bool(pod.controllerNamespace),
        "ready": pod.proxyReady,
        "scraped": pod.added,
        "version": pod.proxyVersion,
        "uptime": pod.uptime.seconds if pod.HasField("uptime") else None,
        "owner": getattr(pod, owner).partition("/")[2] if owner else "",
    }
