"""Token buckets: bursts, rates, and that they are bounded."""

from __future__ import annotations

from linkerd.model.buckets import Buckets


def test_a_key_acts_in_a_burst_then_at_its_rate() -> None:
    buckets = Buckets(burst=3, per_s=0.5, keys_max=10)
    assert [True, True, True, False] == [buckets.take("a", 0) for _ in range(4)]
    assert buckets.take("b", 0)
    assert not buckets.take("a", 1.9)
    assert buckets.take("a", 2.0)
    assert [True, True, True, False] == [buckets.take("a", 1000) for _ in range(4)]


def test_the_key_that_was_used_longest_ago_is_forgotten() -> None:
    buckets = Buckets(burst=1, per_s=0, keys_max=2)
    assert [True, True] == [buckets.take(key, 0) for key in "ab"]
    assert not buckets.take("a", 0)
    assert buckets.take("c", 0)
    assert not buckets.take("a", 0)
    assert buckets.take("b", 0)
