"""Where the content of live views comes from: metrics-api, and Prometheus for who calls whom."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc.aio

from linkerd.errors import LinkerdError, MetricsError, NotFound
from linkerd.viz import client, history, traffic
from linkerd.viz.kinds import ALL, KINDS, STAT_ALL, Target
from linkerd.viz.prometheus import Prometheus
from linkerd.viz.queries import Object
from linkerd.viz.web import trends, views
from linkerd.viz.web.views import View

_TRENDS_MAX = 64
_Trends = dict[str, dict[trends.Key, trends.Trend]]

_NO_PROMETHEUS = MetricsError("the dashboard knows no prometheus", hint="set -prometheus-url")


class Pages:
    """Asks for the content of views.

    Args:
        channel: To metrics-api.
        prometheus: None leaves out graphs, neighbours and plots.
        control_plane_ns: Namespace of the control plane.
        own_ns: Namespace of the dashboard itself.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        prometheus: Prometheus | None,
        control_plane_ns: str = "linkerd",
        own_ns: str = "linkerd-viz",
    ) -> None:
        self._channel = channel
        self._prometheus = prometheus
        self._control_plane_ns = control_plane_ns
        self._mesh_ns = frozenset((control_plane_ns, own_ns))
        self._trends: dict[tuple[tuple[str, ...], str], tuple[float, _Trends]] = {}

    async def poll(self, view: View) -> dict[str, Any]:
        """Returns the content of a view now.

        Raises:
            LinkerdError: what it comes from is out of reach.
        """
        if view.page == "detail":
            return await self._detail(view)
        if view.page == "namespace":
            return await self._namespace(view)
        if view.page == "graph":
            return await self._graph(view)
        if view.page == "mesh":
            return await self._mesh()
        response, drawn = await asyncio.gather(
            client.stat_response(self._channel, view.request()),
            self._trend((view.kind,), view.namespace),
        )
        rows = [row for table in response.ok.stat_tables for row in table.pod_group.rows]
        return views.content(view, rows, drawn.get(view.kind, {}))

    async def history(self, selected: Object, range_: str) -> dict[str, Any]:
        """Returns the series of one resource's plots.

        Raises:
            UsageError: there is no such range, or no traffic of that kind.
            MetricsError: Prometheus is out of reach.
        """
        queries = history.query(selected, range_)
        if self._prometheus is None:
            raise _NO_PROMETHEUS
        step = history.step_s(range_)
        end = time.time() // step * step
        start = end - history.RANGES[range_]
        prometheus = self._prometheus
        found = await asyncio.gather(
            *(prometheus.query_range(query, start, end, step) for query in queries.values())
        )
        return history.columns(dict(zip(queries, found, strict=True)), start, end, step)

    async def _edges(self, selected: Object, window: str) -> list[dict[str, Any]]:
        if self._prometheus is None:
            return []
        answers = await self._prometheus.query_all(traffic.query(selected, window))
        found = traffic.edges(answers, window, pods=selected.kind == "pod")
        # Scrapes and statistics are as true as votes, and rarely what people look for.
        return [{**edge, "mesh": edge["src"]["namespace"] in self._mesh_ns} for edge in found]

    async def _trend(self, kinds: tuple[str, ...], namespace: str) -> _Trends:
        """Returns the trends of the kinds' rows, at most `trends.STEP_S` old."""
        if self._prometheus is None:
            return {}
        key = (kinds, namespace)
        now = time.time() // trends.STEP_S * trends.STEP_S
        asked_at, found = self._trends.get(key, (0.0, {}))
        if asked_at == now:
            return found
        start = now - trends.SPAN_S
        prometheus = self._prometheus
        asked = trends.ask(kinds, namespace)
        answers = await asyncio.gather(
            *(prometheus.query_range(one, start, now, trends.STEP_S) for one in asked.values())
        )
        found = trends.rows(kinds, dict(zip(asked, answers, strict=True)), start)
        self._trends.pop(key, None)
        while len(self._trends) >= _TRENDS_MAX:
            del self._trends[next(iter(self._trends))]
        self._trends[key] = (now, found)
        return found

    async def _graph(self, view: View) -> dict[str, Any]:
        if self._prometheus is None:
            raise _NO_PROMETHEUS
        edges = await self._edges(view.selected(), view.window)
        return {"namespace": view.namespace, "window": view.window, "edges": edges}

    async def _namespace(self, view: View) -> dict[str, Any]:
        """Everything of a namespace in one stream: browsers open few at a time."""
        measured, edges, drawn = await asyncio.gather(
            client.stat_summary(self._channel, Target(ALL, ""), view.namespace, window=view.window),
            self._edges(view.selected(), view.window),
            self._trend(STAT_ALL, view.namespace),
        )
        tables: dict[str, list[dict[str, Any]]] = {}
        for row in measured:
            kind = row.resource.type
            tables.setdefault(kind, []).append(views.row_of(row, drawn.get(kind, {})))
        return {"namespace": view.namespace, "tables": tables, "edges": edges}

    async def _detail(self, view: View) -> dict[str, Any]:
        response, edges, pods, drawn = await asyncio.gather(
            client.stat_response(self._channel, view.request()),
            self._edges(view.selected(), view.window),
            self._pods(view),
            self._trend((view.kind,), view.namespace),
        )
        rows = [row for table in response.ok.stat_tables for row in table.pod_group.rows]
        if not rows:
            raise NotFound(f'{KINDS[view.kind].plural} "{view.name}" not found')
        return {
            "kind": view.kind,
            "namespace": view.namespace,
            "name": view.name,
            "window": view.window,
            "row": views.row_of(rows[0], drawn.get(view.kind, {})),
            "pods": pods,
            **_sides(view, edges),
        }

    async def _pods(self, view: View) -> list[dict[str, Any]]:
        """The pods with their own traffic."""
        target = Target(view.kind, view.name)
        found, measured = await asyncio.gather(
            client.list_pods(self._channel, view.namespace, target=target),
            client.stat_summary(
                self._channel, Target("pod", ""), view.namespace, window=view.window
            ),
        )
        rows = {(row.resource.namespace, row.resource.name): row for row in measured}
        shown = []
        for pod in found:
            entry = views.pod_of(pod)
            row = rows.get((entry["namespace"], entry["name"]))
            shown.append({**(views.row_of(row) if row is not None else {}), **entry})
        return shown

    async def _mesh(self) -> dict[str, Any]:
        """The control plane's pods, and which namespaces are meshed."""
        own, namespaces = await asyncio.gather(
            client.list_pods(self._channel, self._control_plane_ns),
            client.stat_summary(self._channel, Target("namespace", ""), skip_stats=True),
        )
        return {
            "namespace": self._control_plane_ns,
            "pods": [views.pod_of(pod) for pod in own],
            "namespaces": [views.row_of(row) for row in namespaces],
            "gateways": await self._gateways(),
        }

    async def _gateways(self) -> list[dict[str, Any]]:
        try:
            table = await client.gateways(self._channel)
        except LinkerdError:
            return []  # no Prometheus, so nobody knows
        return [
            {
                "cluster": row.cluster_name,
                "namespace": row.namespace,
                "name": row.name,
                "alive": row.alive,
                "services": row.paired_services,
                "p50": row.latency_ms_p50,
                "p95": row.latency_ms_p95,
                "p99": row.latency_ms_p99,
            }
            for row in table.rows
        ]


def _sides(view: View, edges: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Edges that end at the resource, and edges that begin there."""
    if view.kind == "namespace":
        return {
            "inbound": [e for e in edges if e["dst"]["namespace"] == view.name],
            "outbound": [
                e
                for e in edges
                if e["src"]["namespace"] == view.name and e["dst"]["namespace"] != view.name
            ],
        }
    if view.kind == "service":
        return {"inbound": edges, "outbound": []}
    own = {"kind": view.kind, "namespace": view.namespace, "name": view.name}
    return {
        "inbound": [edge for edge in edges if edge["dst"] == own],
        "outbound": [edge for edge in edges if edge["src"] == own],
    }
