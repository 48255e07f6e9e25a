"""Dashboards: what Grafana imports, what the viewer asks, and that both say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from linkerd.errors import NotFound, UsageError
from linkerd.viz import grafana
from linkerd.viz.dashboards import DASHBOARDS

FOLDER = Path(__file__).parents[3] / "charts" / "linkerd-viz" / "dashboards"


def panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def test_files_are_what_the_table_says() -> None:
    expected = dict(grafana.files())
    found = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert expected == found, "run python -m linkerd.viz.grafana charts/linkerd-viz/dashboards"


def test_uids_are_linkerds() -> None:
    kinds = "deployment daemonset statefulset job cronjob replicaset replicationcontroller pod"
    others = "top-line namespace service authority route multicluster health"
    assert {
        *(f"linkerd-{name}" for name in (*kinds.split(), *others.split())),
        "prometheus",
    } == set(DASHBOARDS)


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_grafana_can_import_each(uid: str) -> None:
    document = json.loads(json.dumps(grafana.document(DASHBOARDS[uid])))
    assert {"stat", "timeseries"} >= {panel["type"] for panel in panels(document)}
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        grid = panel["gridPos"]
        cells = {(x, grid["y"]) for x in range(grid["x"], grid["x"] + grid["w"])}
        assert not cells & taken
        taken |= cells
        assert grid["x"] + grid["w"] <= 24
    names = {variable["name"] for variable in document["templating"]["list"]}
    assert {"datasource", *DASHBOARDS[uid].variables} == names


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_the_viewer_lays_out_the_same_panels(uid: str) -> None:
    outline = grafana.outline(DASHBOARDS[uid])
    shown = [panel for section in outline["sections"] for panel in section["panels"]]
    titles = [panel["title"] for panel in panels(grafana.document(DASHBOARDS[uid]))]
    assert titles == [panel["title"] for panel in shown]
    assert titles == [DASHBOARDS[uid].panel(panel["number"]).title for panel in shown]


def test_values_cannot_leave_their_quotes() -> None:
    query = 'up{namespace="$namespace"}[$__rate_interval]'
    assert 'up{namespace="a\\"} or up{x=\\""}[1m]' == grafana.filled(
        query, {"namespace": 'a"} or up{x="'}, "1m"
    )
    with pytest.raises(UsageError, match="namespace"):
        grafana.filled(query, {}, "1m")


def test_variables_narrow_each_other() -> None:
    board = DASHBOARDS["linkerd-deployment"]
    assert (
        'group(process_start_time_seconds{deployment!="",namespace="a"}) by (deployment)',
        "deployment",
    ) == grafana.variable_query(board, "deployment", {"namespace": "a"})
    assert "dst_service" == grafana.variable_query(DASHBOARDS["linkerd-service"], "service", {})[1]
    with pytest.raises(NotFound):
        grafana.variable_query(board, "potato", {})
    with pytest.raises(NotFound):
        board.panel(999)
