"""Dashboards for Grafana ≥ 10, and what our own viewer needs to show the same. Pure but for `main`.

python -m linkerd.viz.grafana FOLDER      writes them as files
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from linkerd.errors import NotFound, UsageError
from linkerd.viz.dashboards import DASHBOARDS, Dashboard, Panel
from linkerd.viz.queries import quoted

_WIDTH = 24

_OUTBOUND_ONLY = {"service": "dst_service", "authority": "authority"}
_VARIABLE = re.compile(r"\$(\w+)")


def variable_query(dashboard: Dashboard, name: str, chosen: Mapping[str, str]) -> tuple[str, str]:
    """Returns the query whose series have the values of a variable, and the label with them.

    Raises:
        NotFound: the dashboard has no such variable.
    """
    if name not in dashboard.variables:
        raise NotFound(f"dashboard {dashboard.uid} has no variable {name}")
    before = dashboard.variables[: dashboard.variables.index(name)]
    label = _OUTBOUND_ONLY.get(name, name)
    outbound = name in _OUTBOUND_ONLY
    metric = "request_total" if outbound else "process_start_time_seconds"
    matchers = [f'{label}!=""']
    for other in before:
        own = f"dst_{other}" if outbound else other
        matchers.append(f"{own}={quoted(chosen.get(other, ''))}")
    return f"group({metric}{{{','.join(matchers)}}}) by ({label})", label


def filled(query: str, chosen: Mapping[str, str], rate_interval: str) -> str:
    """Returns a query with its variables replaced; values cannot leave their quotes.

    Raises:
        UsageError: a variable has no value.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name == "__rate_interval":
            return rate_interval
        if name not in chosen:
            raise UsageError(f"variable {name} has no value")
        return quoted(chosen[name])[1:-1]

    return _VARIABLE.sub(value, query)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """Returns a dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = number = 0
    for section in dashboard.sections:
        if section.title:
            panels.append(
                {
                    "id": len(panels) + 1,
                    "type": "row",
                    "title": section.title,
                    "collapsed": False,
                    "gridPos": {"h": 1, "w": _WIDTH, "x": 0, "y": top},
                    "panels": [],
                }
            )
            top += 1
        across = 4 if section.panels[0].stat else 3
        height = 4 if section.panels[0].stat else 8
        for place, panel in enumerate(section.panels):
            number += 1
            column, row = place % across, place // across
            width = _WIDTH // across
            grid = {"h": height, "w": width, "x": column * width, "y": top + row * height}
            panels.append(_panel(panel, len(panels) + 1, grid))
        top += height * -(-len(section.panels) // across)
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["linkerd"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-5m", "to": "now"},
        "timezone": "",
        "templating": {"list": [_datasource(), *_templating(dashboard)]},
        "panels": panels,
        "annotations": {"list": []},
        "links": [],
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _templating(dashboard: Dashboard) -> list[dict[str, Any]]:
    found = []
    for name in dashboard.variables:
        chosen = {other: f"${other}" for other in dashboard.variables}
        group, label = variable_query(dashboard, name, chosen)
        series = group.removeprefix("group(").partition(") by ")[0]
        found.append(
            {
                "name": name,
                "type": "query",
                "datasource": _SOURCE,
                "query": f"label_values({series}, {label})",
                "refresh": 2,
                "sort": 1,
            }
        )
    return found


def _panel(panel: Panel, number: int, grid: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.unit == "percentunit":
        defaults |= {"min": 0, "max": 1}
    return {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": grid,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": expr,
                "legendFormat": legend,
                "instant": panel.stat,
                "range": not panel.stat,
            }
            for place, (expr, legend) in enumerate(panel.queries)
        ],
    }


def outline(dashboard: Dashboard) -> dict[str, Any]:
    """Returns what our viewer needs to lay a dashboard out; queries stay with the server."""
    number = 0
    sections = []
    for section in dashboard.sections:
        panels = []
        for panel in section.panels:
            panels.append(
                {"number": number, "title": panel.title, "unit": panel.unit, "stat": panel.stat}
            )
            number += 1
        sections.append({"title": section.title, "panels": panels})
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "variables": list(dashboard.variables),
        "sections": sections,
    }


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Returns the name of a series."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), template).strip()


def files() -> Iterable[tuple[str, str]]:
    """Yields name and content of every dashboard's file."""
    for dashboard in DASHBOARDS.values():
        text = json.dumps(document(dashboard), indent=2, ensure_ascii=False) + "\n"
        yield f"{dashboard.uid.removeprefix('linkerd-')}.json", text


def main(argv: Sequence[str]) -> int:
    """Writes the files into a folder; returns the exit status."""
    folder = Path(argv[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files():
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
