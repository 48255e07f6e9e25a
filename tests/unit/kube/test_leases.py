"""Leader election's decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from linkerd.kube.leases import Claim, Held, Terms, step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = Terms(duration_s=30)


def a_lease(holder: str, renewed_s_ago: float, **spec: Any) -> dict[str, Any]:
    renewed = (NOW - timedelta(seconds=renewed_s_ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "spec": {
            "holderIdentity": holder,
            "renewTime": renewed,
            "leaseDurationSeconds": 30,
            **spec,
        }
    }


def test_a_free_lease_is_claimed() -> None:
    action = step(None, "me", NOW, TERMS)
    assert isinstance(action, Claim)
    assert ("me", 0, "2026-01-01T00:00:00.000000Z") == (
        action.spec["holderIdentity"],
        action.spec["leaseTransitions"],
        action.spec["acquireTime"],
    )


def test_a_held_lease_is_left_alone_until_it_expires() -> None:
    assert Held("you", NOW + timedelta(seconds=1)) == step(a_lease("you", 29), "me", NOW, TERMS)


def test_an_expired_lease_changes_hands() -> None:
    action = step(a_lease("you", 31, leaseTransitions=4), "me", NOW, TERMS)
    assert isinstance(action, Claim)
    assert ("me", 5) == (action.spec["holderIdentity"], action.spec["leaseTransitions"])


def test_our_own_lease_is_renewed_and_keeps_its_start() -> None:
    action = step(a_lease("me", 5, acquireTime="then", leaseTransitions=4), "me", NOW, TERMS)
    assert isinstance(action, Claim)
    assert ("then", 4) == (action.spec["acquireTime"], action.spec["leaseTransitions"])


def test_a_released_lease_is_claimed() -> None:
    assert isinstance(step(a_lease("", 0), "me", NOW, TERMS), Claim)
