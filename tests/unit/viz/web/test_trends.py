"""The last minutes of a table's rows: what is asked, and which points come out."""

from __future__ import annotations

import pytest

from linkerd.viz.prometheus import Series
from linkerd.viz.web import trends

START = 1000.0


def a_series(value: float, classification: str = "success", **labels: str) -> Series:
    points = [(START + place * trends.STEP_S, value) for place in range(trends.POINTS)]
    return Series({"classification": classification, **labels}, points)


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (("deployment",), {"inbound"}),
        (("service",), {"outbound"}),
        (("pod", "service", "deployment"), {"inbound", "outbound"}),
        (("namespace",), {"inbound"}),
    ],
)
def test_workloads_are_measured_by_their_proxies_services_by_their_clients(
    kinds: tuple[str, ...], names: set[str]
) -> None:
    asked = trends.ask(kinds, "emojivoto")
    assert names == asked.keys()
    assert all('namespace="emojivoto"' in query for query in asked.values())


def test_a_row_is_the_sum_of_its_series_and_knows_what_failed() -> None:
    web = {"namespace": "emojivoto", "deployment": "web"}
    answers = {
        "inbound": [
            a_series(2.0, pod="web-1", **web),
            a_series(1.0, pod="web-2", **web),
            a_series(0.5, "failure", pod="web-2", **web),
            a_series(4.0, namespace="other", statefulset="db"),
        ]
    }
    found = trends.rows(("deployment", "pod", "namespace"), answers, START)
    assert {("emojivoto", "web")} == found["deployment"].keys()
    trend = found["deployment"]["emojivoto", "web"]
    assert ([3.5] * trends.POINTS, [0.5] * trends.POINTS) == (trend["rps"], trend["failed"])
    assert "failed" not in found["pod"]["emojivoto", "web-1"]
    assert {("", "emojivoto"), ("", "other")} == found["namespace"].keys()


def test_points_outside_of_the_span_and_gaps_count_nothing() -> None:
    labels = {"dst_namespace": "emojivoto", "dst_service": "web-svc", "classification": "success"}
    points = [(START - trends.STEP_S, 9.0), (START + trends.STEP_S, 1.0), (START + 1e6, 9.0)]
    found = trends.rows(("service",), {"outbound": [Series(labels, points)]}, START)
    expected = [0.0, 1.0] + [0.0] * (trends.POINTS - 2)
    assert expected == found["service"]["emojivoto", "web-svc"]["rps"]
