"""ReplicaSet: as many pods of one template as wanted.

Orphans are not adopted: nothing that we run makes them.
Source: kubernetes pkg/controller/replicaset/replica_set.go.
"""

from __future__ import annotations

from linkerd.kube.resources import PODS, REPLICA_SETS
from linkerd.local.controllers.facts import (
    Object,
    available_in_s,
    deletion_rank,
    is_active,
    is_terminating,
    matches,
    pod_from,
    ready_since,
)
from linkerd.local.controllers.plan import Delete, Plan, Status, with_status
from linkerd.local.controllers.world import Key, World

_CREATE_AT_ONCE_MAX = 100


def plan(world: World, key: Key, now: float) -> Plan:
    """Returns the pods to create or delete and the status to write."""
    result = Plan()
    replica_set = world.at(key)
    if replica_set is None:
        return result
    active = [pod for pod in world.owned(replica_set, PODS) if is_active(pod)]
    wanted = replica_set["spec"].get("replicas", 1)
    if not is_terminating(replica_set):
        _scale(result, replica_set, active, wanted)
    _status(result, replica_set, active, now)
    return result


def _scale(result: Plan, replica_set: Object, active: list[Object], wanted: int) -> None:
    missing = wanted - len(active)
    template = replica_set["spec"]["template"]
    for _ in range(min(missing, _CREATE_AT_ONCE_MAX)):
        result.actions.append(pod_from(REPLICA_SETS, replica_set, template))
    if missing < 0:
        for pod in sorted(active, key=deletion_rank)[:-missing]:
            result.actions.append(Delete(PODS, pod))


def _status(result: Plan, replica_set: Object, active: list[Object], now: float) -> None:
    spec = replica_set["spec"]
    template_labels = {"matchLabels": (spec["template"].get("metadata") or {}).get("labels") or {}}
    waits = [available_in_s(pod, spec.get("minReadySeconds", 0), now) for pod in active]
    counts = {
        "fullyLabeledReplicas": sum(
            matches(template_labels, pod["metadata"].get("labels")) for pod in active
        ),
        "readyReplicas": sum(ready_since(pod) is not None for pod in active),
        "availableReplicas": sum(wait == 0 for wait in waits),
    }
    status = {
        "replicas": len(active),
        **{name: count for name, count in counts.items() if count},
        "observedGeneration": replica_set["metadata"].get("generation", 1),
    }
    changed = with_status(replica_set, status)
    if changed is not None:
        result.actions.append(Status(REPLICA_SETS, changed))
    for wait in waits:
        if wait:
            result.again(wait)
