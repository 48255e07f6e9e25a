"""Events do not live for ever: those that nobody touched for an hour are deleted.

Source: Kubernetes apiserver `--event-ttl` (default 1h).
"""

from __future__ import annotations

from linkerd.local.apiserver.humane import seconds_since
from linkerd.local.store import Obj, Store

EVENT_S = 3_600.0
#: At most so many in one step, so that a step stays short.
_STEP_MAX = 500


def expire_events(store: Store, now: float) -> int:
    """Deletes old events; returns how many.

    Args:
        store: Of the cluster.
        now: Seconds since the epoch.
    """
    old = [entry for entry in store.list("events") if _age(entry.decode(), now) > EVENT_S]
    for entry in old[:_STEP_MAX]:
        store.delete("events", entry.key)
    return min(len(old), _STEP_MAX)


def _age(event: Obj, now: float) -> float:
    """Returns the seconds since an event was last seen."""
    series = event.get("series") or {}
    for moment in (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    ):
        seconds = seconds_since(moment, now)
        if seconds is not None:
            return seconds
    return 0.0
