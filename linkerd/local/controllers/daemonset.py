"""DaemonSet: one pod on the node, replaced when the template changes.

Source: kubernetes pkg/controller/daemon/daemon_controller.go, for a cluster of one node.
"""

from __future__ import annotations

from linkerd.kube.resources import DAEMON_SETS, NODES, PODS
from linkerd.local.controllers.facts import (
    Object,
    available_in_s,
    is_active,
    is_finished,
    is_terminating,
    pod_from,
    ready_since,
    template_hash,
)
from linkerd.local.controllers.plan import Delete, Plan, Status, with_status
from linkerd.local.controllers.scheduler import fits
from linkerd.local.controllers.world import Key, World

_HASH = "controller-revision-hash"


def plan(world: World, key: Key, now: float) -> Plan:
    """Returns the pod to create or delete and the status to write."""
    result = Plan()
    daemon_set = world.at(key)
    if daemon_set is None or is_terminating(daemon_set):
        return result
    spec = daemon_set["spec"]
    wanted_hash = template_hash(spec["template"])
    pods = world.owned(daemon_set, PODS)
    active = [pod for pod in pods if is_active(pod)]
    wanted = sum(fits(spec["template"]["spec"], node) for node in world.all(NODES))
    result.actions.extend(
        Delete(PODS, pod) for pod in pods if is_finished(pod) and not is_terminating(pod)
    )
    updated = [pod for pod in active if (pod["metadata"].get("labels") or {})[_HASH] == wanted_hash]
    old = [pod for pod in active if pod not in updated]
    rolling = (spec.get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    surplus = active[wanted:] or (old if rolling else [])
    result.actions.extend(Delete(PODS, pod) for pod in surplus)
    leaving = any(is_terminating(pod) for pod in pods)
    if len(active) < wanted and not leaving:
        labels = {_HASH.replace("-", "_"): wanted_hash}
        result.actions.append(pod_from(DAEMON_SETS, daemon_set, spec["template"], **labels))
    _status(result, daemon_set, active, updated, wanted, now)
    return result


def _status(
    result: Plan,
    daemon_set: Object,
    active: list[Object],
    updated: list[Object],
    wanted: int,
    now: float,
) -> None:
    waits = [
        available_in_s(pod, daemon_set["spec"].get("minReadySeconds", 0), now) for pod in active
    ]
    available = sum(wait == 0 for wait in waits)
    status = {
        "currentNumberScheduled": min(len(active), wanted),
        "desiredNumberScheduled": wanted,
        "numberMisscheduled": max(len(active) - wanted, 0),
        "numberReady": sum(ready_since(pod) is not None for pod in active),
        "updatedNumberScheduled": len(updated),
        "numberAvailable": available,
        "observedGeneration": daemon_set["metadata"].get("generation", 1),
    }
    if wanted > available:
        status["numberUnavailable"] = wanted - available
    changed = with_status(daemon_set, status)
    if changed is not None:
        result.actions.append(Status(DAEMON_SETS, changed))
    for wait in waits:
        if wait:
            result.again(wait)
