"""A resource's last minutes or hours: range queries → series for plots. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from linkerd.errors import UsageError
from linkerd.viz import queries
from linkerd.viz.kinds import KINDS
from linkerd.viz.prometheus import Series

RANGES = {"5m": 300.0, "15m": 900.0, "1h": 3600.0, "3h": 10800.0, "6h": 21600.0}
"""Ranges that a page may ask for → seconds."""

_POINTS = 120
_WINDOW_MIN_S = 30.0


def step_s(range_: str) -> float:
    """Returns the seconds between points.

    Raises:
        UsageError: there is no such range.
    """
    try:
        return max(5.0, RANGES[range_] / _POINTS)
    except KeyError:
        raise UsageError(f"range {range_!r} is not one of {', '.join(RANGES)}") from None


def query(selected: queries.Object, range_: str) -> dict[str, str]:
    """Returns what to ask about one resource, as range queries with `step_s`.

    Raises:
        UsageError: that kind has no traffic, or there is no such range.
    """
    kind = KINDS.get(selected.kind)
    if kind is None or not (kind.owns_pods or kind.name == "service"):
        raise UsageError(f"unsupported resource type [{selected.kind}]")
    window = f"{max(_WINDOW_MIN_S, step_s(range_) * 2):g}s"
    matchers = queries.Matchers()
    if kind.name == "service":
        matchers.equal("direction", "outbound")
        queries.destination(matchers, selected, "")
    else:
        matchers.equal("direction", "inbound")
        queries.own(matchers, selected)
    good = matchers.copy().equal("classification", "success")
    bad = matchers.copy().equal("classification", "failure")
    buckets = f"sum(rate(response_latency_ms_bucket{matchers}[{window}])) by (le)"
    return {
        "success": f"sum(rate(response_total{good}[{window}]))",
        "failure": f"sum(rate(response_total{bad}[{window}]))",
        **{
            name: f"histogram_quantile({quantile}, {buckets})"
            for name, quantile in queries.QUANTILES.items()
        },
    }


def columns(
    answers: Mapping[str, Sequence[Series]], start: float, end: float, step: float
) -> dict[str, Any]:
    """Returns one list of times and one of values per name, None where there is no value."""
    count = int((end - start) / step) + 1
    times = [start + place * step for place in range(count)]
    found: dict[str, Any] = {"times": [round(at) for at in times]}
    for name, series in answers.items():
        values: list[float | None] = [None] * count
        for one in series[:1]:
            for at, value in one.points:
                place = round((at - start) / step)
                if 0 <= place < count:
                    values[place] = round(value, 4)
        found[name] = values
    return found
