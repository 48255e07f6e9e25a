"""The last minutes of every row of a table, as small series: range queries → points. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from linkerd.viz import queries
from linkerd.viz.kinds import KINDS
from linkerd.viz.prometheus import Series

SPAN_S = 300.0
STEP_S = 10.0
POINTS = int(SPAN_S / STEP_S) + 1

# Longer than the step, so that Prometheus' usual scrape intervals leave no gaps.
_WINDOW = "60s"

Key = tuple[str, str]
"""Namespace and name of a row; namespaces have no namespace."""

Trend = dict[str, list[float]]
"""`rps` and, where something failed, `failed`: requests per second, oldest first."""


def ask(kinds: Iterable[str], namespace: str) -> dict[str, str]:
    """Returns the range queries for the rows of some kinds.

    Args:
        kinds: What the tables list.
        namespace: Empty for all.
    """
    wanted = list(kinds)
    asked = {}
    pods = [_label(kind) for kind in wanted if kind not in ("service", "namespace")]
    if pods or "namespace" in wanted:
        inbound = queries.Matchers().equal("direction", "inbound").equal("namespace", namespace)
        asked["inbound"] = _rate(inbound, ("namespace", *pods))
    if "service" in wanted:
        outbound = queries.Matchers().equal("direction", "outbound")
        outbound.equal("dst_namespace", namespace).present("dst_service")
        asked["outbound"] = _rate(outbound, ("dst_namespace", "dst_service"))
    return asked


def rows(
    kinds: Iterable[str], answers: Mapping[str, Sequence[Series]], start: float
) -> dict[str, dict[Key, Trend]]:
    """Returns the trend of every row that has one, by kind.

    Args:
        kinds: As they were asked about.
        answers: To the queries of `ask`.
        start: Unix seconds of the first point.
    """
    found: dict[str, dict[Key, Trend]] = {}
    for kind in kinds:
        of_kind = found.setdefault(kind, {})
        for series in answers.get("outbound" if kind == "service" else "inbound", ()):
            key = _key(kind, series.labels)
            if key[1]:
                failed = series.labels.get("classification") == "failure"
                _add(of_kind.setdefault(key, {"rps": [0.0] * POINTS}), series, start, failed)
        for trend in of_kind.values():
            for name, values in trend.items():
                trend[name] = [round(value, 2) for value in values]
    return found


def _rate(matchers: queries.Matchers, by: Iterable[str]) -> str:
    labels = ", ".join((*by, "classification"))
    return f"sum(rate(response_total{matchers}[{_WINDOW}])) by ({labels})"


def _label(kind: str) -> str:
    return KINDS[kind].label


def _key(kind: str, labels: Mapping[str, str]) -> Key:
    if kind == "namespace":
        return "", labels.get("namespace", "")
    if kind == "service":
        return labels.get("dst_namespace", ""), labels.get("dst_service", "")
    return labels.get("namespace", ""), labels.get(_label(kind), "")


def _add(trend: Trend, series: Series, start: float, failed: bool) -> None:
    lines = [trend["rps"]]
    if failed and any(value for _, value in series.points):
        lines.append(trend.setdefault("failed", [0.0] * POINTS))
    for at, value in series.points:
        place = round((at - start) / STEP_S)
        if 0 <= place < POINTS:
            for line in lines:
                line[place] += value
