"""Charts rendered in process: order, merging, errors; what is in them is tested in tests/golden."""

from __future__ import annotations

from pathlib import Path

import pytest

from linkerd.errors import RenderError
from linkerd.inject import manifest
from linkerd.install import charts


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """Returns a chart whose templates are to be written by the test."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("name: demo\nversion: 1.2.3\n")
    (tmp_path / "values.yaml").write_text("a: {b: 1, c: [1, 2]}\n")
    return tmp_path


def _render(chart: Path, template: str, **values: object) -> str:
    (chart / "templates" / "one.yaml").write_text(template)
    return charts.render_chart(chart, values, release="r", namespace="ns")


def test_values_are_merged_and_lists_replaced(chart: Path) -> None:
    text = _render(chart, "v: {{ toJson .Values.a }}", a={"c": [3], "d": "x"})
    assert {"v": {"b": 1, "c": [3], "d": "x"}} == manifest.parse(text)


def test_a_null_removes_a_default(chart: Path) -> None:
    assert {"v": {"c": [1, 2]}} == manifest.parse(
        _render(chart, "v: {{ toJson .Values.a }}", a={"b": None})
    )


def test_release_and_chart_are_known(chart: Path) -> None:
    template = (
        "v: {{ .Release.Name }}/{{ .Release.Namespace }}/{{ .Chart.Name }}-{{ .Chart.Version }}"
    )
    assert {"v": "r/ns/demo-1.2.3"} == manifest.parse(_render(chart, template))


def test_empty_documents_are_left_out(chart: Path) -> None:
    assert "a: 1\n---\nb: 2\n" == _render(chart, "---\n# note\n---\na: 1\n---\n\n---\nb: 2\n")


def test_namespaces_come_first_then_the_order_asked_for(chart: Path) -> None:
    for name in ("a", "b", "namespace", "z"):
        (chart / "templates" / f"{name}.yaml").write_text(f"n: {name}\n")
    text = charts.render_chart(chart, {}, release="r", namespace="ns", order=["z.yaml"])
    expected = ["namespace", "z", "a", "b"]
    assert expected == [one["n"] for one in manifest.parse_all(text)]


def test_lookup_finds_nothing(chart: Path) -> None:
    assert {"v": {}} == manifest.parse(
        _render(chart, 'v: {{ lookup "v1" "Secret" "ns" "x" | toJson }}')
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{{ fail "not like that" }}', "not like that"),
        ('{{ required "x is needed" .Values.x }}', "x is needed"),
        ("{{ if }}", "cannot render chart"),
    ],
)
def test_a_template_that_fails_is_an_error(chart: Path, template: str, expected: str) -> None:
    with pytest.raises(RenderError, match=expected):
        _render(chart, template)


def test_an_unknown_chart_is_an_error() -> None:
    with pytest.raises(RenderError, match="chart nothing not found"):
        charts.chart_dir("nothing")
