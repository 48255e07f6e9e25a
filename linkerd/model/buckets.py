"""Token buckets by key: each key may act in a burst, then at a steady rate.

    buckets = Buckets(burst=25, per_s=1 / 300, keys_max=4096)
    if buckets.take(key, now): ...

Bounded: the key that was used longest ago is forgotten first, and so starts full again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class Buckets:
    """One bucket per key.

    Args:
        burst: How many times a key may act at once.
        per_s: How often it may act in the long run, per second.
        keys_max: How many keys are remembered.
    """

    def __init__(self, burst: float, per_s: float, keys_max: int) -> None:
        self._burst, self._per_s, self._keys_max = burst, per_s, keys_max
        self._state: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, now: float) -> bool:
        """Returns whether `key` may act.

        Args:
            key: Who acts.
            now: Monotonic seconds; never earlier than in the previous call.
        """
        left, since = self._state.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_s)
        allowed = left >= 1
        self._state[key] = (left - 1 if allowed else left), now
        if len(self._state) > self._keys_max:
            self._state.popitem(last=False)
        return allowed
