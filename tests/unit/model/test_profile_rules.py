"""What a ServiceProfile must look like to be admitted."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.model import profile_rules

GET = {"method": "GET"}


def _profile(name: str = "web.ns.svc.cluster.local", **spec: Any) -> dict[str, Any]:
    return {"kind": "ServiceProfile", "metadata": {"name": name}, "spec": spec}


def _route(**fields: Any) -> dict[str, Any]:
    return _profile(routes=[{"name": "r", "condition": GET, **fields}])


@pytest.mark.parametrize(
    "profile",
    [
        _profile(),
        _profile(routes=[]),
        _route(isRetryable=True, timeout="250ms"),
        _route(condition={"any": [{"pathRegex": "/a/[^/]*"}, {"not": GET}]}),
        _route(responseClasses=[{"condition": {"status": {"min": 500, "max": 599}}}]),
        _profile(retryBudget={"retryRatio": 0.2, "minRetriesPerSecond": 10, "ttl": "10s"}),
        _profile(dstOverrides=[{"authority": "a", "weight": 1}]),
    ],
)
def test_admits(profile: dict[str, Any]) -> None:
    assert profile_rules.problem(profile) is None


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (_profile("Web_1"), "invalid name"),
        (_profile(routes=[None]), "null route"),
        (_profile(routes=[{"condition": GET}]), "route with no name"),
        (_profile(routes=[{"name": "r"}]), "route with no condition"),
        (_route(condition={}), "request match with no field set"),
        (_route(condition={"all": [{}]}), "request match with no field set"),
        (_route(condition={"pathRegex": "["}), "invalid pathRegex"),
        (_route(timeout="fast"), 'time: invalid duration "fast"'),
        (_route(responseClasses=[{}]), "response class with no condition"),
        (_route(responseClasses=[{"condition": {}}]), "response match with no field set"),
        (_route(responseClasses=[{"condition": {"status": {"min": 99}}}]), "not in 100..599"),
        (
            _route(responseClasses=[{"condition": {"status": {"min": 500, "max": 400}}}]),
            "exceeds its max",
        ),
        (_profile(retryBudget={"retryRatio": -1, "ttl": "10s"}), "must be non-negative"),
        (_profile(retryBudget={"retryRatio": 1}), "missing TTL"),
        (_profile(routs=[]), 'unknown field "routs"'),
        (_route(retryable=True), 'unknown field "retryable"'),
        (_profile(routes="x"), "is not"),
    ],
)
def test_refuses(profile: dict[str, Any], expected: str) -> None:
    assert expected in (profile_rules.problem(profile) or "")


def test_conditions_that_nest_without_end_are_refused() -> None:
    condition: dict[str, Any] = GET
    for _ in range(40):
        condition = {"not": condition}
    assert "nests conditions deeper" in (profile_rules.problem(_route(condition=condition)) or "")
