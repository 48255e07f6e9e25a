"""Who calls whom, and series for plots."""

from __future__ import annotations

import pytest

from linkerd.errors import UsageError
from linkerd.viz import history, traffic
from linkerd.viz.prometheus import Series
from linkerd.viz.queries import Object
from tests.unit.viz.builders import sample

CALL = {
    "namespace": "emojivoto",
    "deployment": "web",
    "dst_namespace": "emojivoto",
    "dst_deployment": "voting",
    "tls": "true",
}


def test_a_graph_asks_for_both_directions_of_a_namespace() -> None:
    asked = traffic.query(Object("namespace", "", "emojivoto"), "1m")
    assert asked["requests"].startswith(
        'sum(increase(response_total{direction="outbound", target_port!~"4190|4191", '
        'namespace="emojivoto"}[1m]))'
    )
    theirs = 'direction="outbound", target_port!~"4190|4191", dst_namespace="emojivoto"'
    assert f" or sum(increase(response_total{{{theirs}}}" in asked["requests"]
    assert "dst_namespace=" not in traffic.query(Object("namespace"), "1m")["requests"]
    strangers = traffic.query(Object("deployment", "a", "b"), "1m")["outside"]
    assert 'target_port!~"4190|4191"' in strangers
    assert "outside" not in traffic.query(Object("service", "a", "b"), "1m")
    with pytest.raises(UsageError):
        traffic.query(Object("server"), "1m")


@pytest.mark.parametrize(
    ("selected", "sides"),
    [
        (Object("namespace", "", "shop"), ['namespace="shop"', 'dst_namespace="shop"']),
        (Object("deployment", "shop", "web"), ['dst_namespace="shop", dst_deployment="web"']),
        (Object("service", "shop", "web"), ['dst_namespace="shop", dst_service="web"']),
        (Object("pod", "shop", "web-1"), []),
    ],
)
def test_callers_that_nobody_owns_are_asked_by_pod(selected: Object, sides: list[str]) -> None:
    parts = traffic.query(selected, "1m")["requests"].split(" or ")
    bare = [part for part in parts if 'deployment="", ' in part]
    assert len(sides) == len(bare)
    for side, part in zip(sides, bare, strict=True):
        assert f'{side}, deployment="", statefulset=""' in part
        assert "tls, pod, classification)" in part


def test_edges_have_rates_health_and_identity() -> None:
    answers = {
        "requests": [
            sample(45, classification="success", **CALL),
            sample(15, classification="failure", **CALL),
        ],
        "p99": [sample(12.4, **CALL)],
        "tcp": [sample(2, **CALL), sample(0, **CALL | {"dst_deployment": "idle"})],
        "outside": [
            sample(6, classification="success", namespace="emojivoto", deployment="web"),
        ],
    }
    outside, call = sorted(
        traffic.edges(answers, "1m"), key=lambda edge: str(edge["src"]["kind"]), reverse=True
    )
    assert {
        "src": {"kind": "deployment", "namespace": "emojivoto", "name": "web"},
        "dst": {"kind": "deployment", "namespace": "emojivoto", "name": "voting"},
        "rps": 1.0,
        "success": 0.75,
        "p99": 12,
        "tcp": 2,
        "tls": True,
    } == call
    assert ("outside", 0.1, False) == (outside["src"]["kind"], outside["rps"], outside["tls"])


def test_one_plain_call_makes_an_edge_insecure() -> None:
    plain = CALL | {"tls": "not_provided_by_service_discovery"}
    answers = {"requests": [sample(1, **CALL), sample(1, **plain)]}
    assert [False] == [edge["tls"] for edge in traffic.edges(answers, "1m")]


def test_services_stand_for_what_has_no_workload() -> None:
    target = {"dst_namespace": "x", "dst_service": "db"}
    call = {"namespace": "emojivoto", "pod": "a", "deployment": "web", **target}
    (edge,) = traffic.edges({"requests": [sample(1, **call)]}, "1m")
    assert {"kind": "service", "namespace": "x", "name": "db"} == edge["dst"]
    (edge,) = traffic.edges({"requests": [sample(1, **call)]}, "1m", pods=True)
    assert "pod" == edge["src"]["kind"]


def test_plots_share_their_times() -> None:
    series = [Series({}, [(110.0, 1.0), (130.0, 3.00001)])]
    found = history.columns({"success": series, "failure": []}, 100.0, 130.0, 10.0)
    assert [100, 110, 120, 130] == found["times"]
    assert [None, 1.0, None, 3.0] == found["success"]
    assert [None] * 4 == found["failure"]


def test_ranges_are_few_and_windows_hold_samples() -> None:
    asked = history.query(Object("deployment", "emojivoto", "web"), "5m")
    assert "[30s]" in asked["success"]
    assert "[360s]" in history.query(Object("service", "a", "b"), "6h")["p99"]
    with pytest.raises(UsageError, match="is not one of"):
        history.query(Object("deployment", "a", "b"), "7d")
