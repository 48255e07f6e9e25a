"""Our own viewer of the Grafana dashboards: browsers name panels, the server knows the queries.

GET /grafana/api/dashboards               outlines of all
GET /grafana/api/values?uid=…&name=…      values of a variable, var-x narrows
GET /grafana/api/panel?uid=…&panel=0&range=15m&var-namespace=…
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from linkerd.errors import LinkerdError, MetricsError, NotFound, UsageError
from linkerd.viz import grafana, history
from linkerd.viz.dashboards import DASHBOARDS, Dashboard
from linkerd.viz.prometheus import Prometheus

_SERIES_MAX = 20
_VALUE_MAX = 253


class Boards:
    """Answers the viewer.

    Args:
        prometheus: None answers with an error.
    """

    def __init__(self, prometheus: Prometheus | None) -> None:
        self._prometheus = prometheus

    async def outlines(self, request: Request) -> Response:
        """Lists the dashboards."""
        found = [grafana.outline(dashboard) for dashboard in DASHBOARDS.values()]
        return JSONResponse({"dashboards": found})

    async def values(self, request: Request) -> Response:
        """Lists the values of a variable."""
        return await self._answered(self._values(request.query_params))

    async def panel(self, request: Request) -> Response:
        """Returns the series of a panel."""
        return await self._answered(self._panel(request.query_params))

    async def _answered(self, answer: Any) -> Response:
        try:
            return JSONResponse(await answer, headers={"Cache-Control": "no-store"})
        except NotFound as error:
            return JSONResponse({"error": error.message}, 404)
        except UsageError as error:
            return JSONResponse({"error": error.message}, 400)
        except LinkerdError as error:
            return JSONResponse({"error": error.message}, 500)

    async def _values(self, query: Mapping[str, str]) -> dict[str, Any]:
        dashboard = _dashboard(query)
        promql, label = grafana.variable_query(dashboard, query.get("name", ""), chosen(query))
        samples = await self._configured().query(promql)
        return {"values": sorted({sample.labels.get(label, "") for sample in samples} - {""})}

    async def _panel(self, query: Mapping[str, str]) -> dict[str, Any]:
        try:
            number = int(query.get("panel", ""))
        except ValueError:
            raise UsageError(f"panel {query.get('panel')!r} is no number") from None
        panel = _dashboard(query).panel(number)
        range_ = query.get("range", "15m")
        step = history.step_s(range_)
        window = f"{max(30.0, step * 4):g}s"
        prometheus = self._configured()
        asked = [grafana.filled(promql, chosen(query), window) for promql, _ in panel.queries]
        if panel.stat:
            samples = await asyncio.gather(*(prometheus.query(promql) for promql in asked))
            values = [sample.value for found in samples for sample in found]
            return {"value": values[0] if values else None}
        end = time.time() // step * step
        start = end - history.RANGES[range_]
        found = await asyncio.gather(
            *(prometheus.query_range(promql, start, end, step) for promql in asked)
        )
        lines: list[dict[str, Any]] = []
        times: list[int] = []
        for (_, template), series in zip(panel.queries, found, strict=True):
            for one in series[:_SERIES_MAX]:
                columns = history.columns({"values": [one]}, start, end, step)
                times = columns["times"]
                name = grafana.legend(template, one.labels)
                lines.append({"name": name, "values": columns["values"]})
        return {"times": times, "lines": lines[:_SERIES_MAX]}

    def _configured(self) -> Prometheus:
        if self._prometheus is None:
            raise MetricsError("the dashboard knows no prometheus")
        return self._prometheus


def chosen(query: Mapping[str, str]) -> dict[str, str]:
    """Returns the values of variables in a page's parameters.

    Raises:
        UsageError: one is longer than any name in Kubernetes.
    """
    found = {key[4:]: value for key, value in query.items() if key.startswith("var-")}
    for name, value in found.items():
        if len(value) > _VALUE_MAX:
            raise UsageError(f"variable {name} is longer than {_VALUE_MAX} characters")
    if "job" in found:
        found.setdefault("k8s_job", found["job"])
    return found


def _dashboard(query: Mapping[str, str]) -> Dashboard:
    uid = query.get("uid", "")
    if uid not in DASHBOARDS:
        raise NotFound(f"there is no dashboard {uid[:64]!r}")
    return DASHBOARDS[uid]
