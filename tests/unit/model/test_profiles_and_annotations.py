"""ServiceProfiles and Service annotations."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import WireError
from linkerd.model.annotations import accrual, grpc_retry, http_retry, seconds, timeouts
from linkerd.model.endpoints import Match, ResponseClass, Route
from linkerd.model.objects import ServiceProfileSpec
from linkerd.model.policy import Accrual, Retry, Timeouts
from linkerd.model.profiles import rules


def spec(**fields: Any) -> ServiceProfileSpec:
    return ServiceProfileSpec(**fields)


def test_a_profile_with_everything() -> None:
    parsed = rules(
        spec(
            routes=(
                {
                    "name": "GET /x",
                    "condition": {"method": "get", "pathRegex": "/x"},
                    "responseClasses": [{"condition": {"status": {"min": 500}}, "isFailure": True}],
                    "isRetryable": True,
                    "timeout": "1m30s",
                },
            ),
            retry_budget={"retryRatio": 0.5, "minRetriesPerSecond": 3, "ttl": "20s"},
            dst_overrides=(
                {"authority": "a.ns.svc.cluster.local:80", "weight": "900m"},
                {"authority": "b", "weight": 1},
            ),
        ),
        "ns",
        "cluster.local",
    )
    both = Match("all", (Match("method", text="GET"), Match("path", text="/x")))
    failures = ResponseClass(Match("status", low=500, high=500), True)
    assert (Route("GET /x", both, (failures,), True, 90.0),) == parsed.routes
    assert (0.5, 3, 20.0) == (parsed.retry_ratio, parsed.min_retries_per_s, parsed.ttl_s)
    assert (("a.ns.svc.cluster.local:80", 9000), ("b", 10000)) == parsed.overrides


def test_the_default_budget() -> None:
    parsed = rules(spec(), "ns", "cluster.local")
    assert (0.2, 10, 10.0) == (parsed.retry_ratio, parsed.min_retries_per_s, parsed.ttl_s)


def nested(depth: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"method": "GET"}
    for _ in range(depth):
        condition = {"not": condition}
    return condition


@pytest.mark.parametrize(
    "route",
    [
        {"condition": {"method": "GET"}},
        {"name": "x"},
        {"name": "x", "condition": {}},
        {"name": "x", "condition": {"method": "GET"}, "timeout": "soon"},
        {"name": "x", "condition": nested(50)},
    ],
)
def test_a_malformed_profile_is_an_error(route: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="malformed"):
        rules(spec(routes=(route,)), "ns", "cluster.local")


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("500ms", 0.5), ("3s", 3), ("2m", 120), ("1d", 86400)]
)
def test_durations(text: str, expected: float) -> None:
    assert expected == seconds(text)


@pytest.mark.parametrize("text", ["", "1", "-1s", "1.5s", "1h30m", "s"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


def test_timeouts_and_retries() -> None:
    notes = {
        "timeout.linkerd.io/request": "3s",
        "retry.linkerd.io/http": "5xx,gateway-error,404,410-412",
        "retry.linkerd.io/grpc": "Internal, unavailable",
        "retry.linkerd.io/limit": "2",
        "retry.linkerd.io/timeout": "100ms",
    }
    assert Timeouts(3.0) == timeouts(notes)
    statuses = ((500, 599), (502, 504), (404, 404), (410, 412))
    assert Retry(2, 0.1, statuses) == http_retry(notes)
    assert Retry(2, 0.1, (), ("internal", "unavailable")) == grpc_retry(notes)
    assert http_retry({}) is None


@pytest.mark.parametrize("value", ["6xx", "99", "600", "504-500", "abc"])
def test_wrong_retry_conditions(value: str) -> None:
    with pytest.raises(ValueError, match="is"):
        http_retry({"retry.linkerd.io/http": value})


def test_failure_accrual() -> None:
    key = "balancer.linkerd.io/failure-accrual"
    assert accrual({}) is None
    assert Accrual() == accrual({key: "consecutive"})
    found = accrual({key: "consecutive", f"{key}-consecutive-max-failures": "3"})
    assert found is not None
    assert 3 == found.max_failures


@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        ("", "sometimes"),
        ("-consecutive-max-failures", "-1"),
        ("-consecutive-max-penalty", "0"),
        ("-consecutive-min-penalty", "2m"),
        ("-consecutive-jitter-ratio", "101"),
    ],
)
def test_wrong_failure_accrual(suffix: str, value: str) -> None:
    key = "balancer.linkerd.io/failure-accrual"
    with pytest.raises(ValueError, match=r"failure|penalty|jitter"):
        accrual({key: "consecutive"} | {f"{key}{suffix}": value})
