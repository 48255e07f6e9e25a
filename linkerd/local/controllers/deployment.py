"""Deployment: one ReplicaSet per template, rolled over within surge and unavailability.

Source: kubernetes pkg/controller/deployment (rolling.go, recreate.go, sync.go, progress.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linkerd.kube.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from linkerd.local.controllers.facts import (
    Object,
    condition,
    is_terminating,
    share,
    template_hash,
    unix,
)
from linkerd.local.controllers.plan import (
    Create,
    Delete,
    Emit,
    Merge,
    Plan,
    Status,
    owner_reference,
    with_status,
)
from linkerd.local.controllers.world import Key, World

_REVISION = "deployment.kubernetes.io/revision"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MAX = "deployment.kubernetes.io/max-replicas"
_HASH = "pod-template-hash"
_KEPT_FROM_COPY = ("kubectl.kubernetes.io/last-applied-configuration", _REVISION, _DESIRED, _MAX)


@dataclass(frozen=True)
class _Rollout:
    """A deployment with its replica sets; `new` is None until it is created."""

    deployment: Object
    new: Object | None
    old: list[Object]
    wanted: int
    surge: int
    unavailable: int

    @property
    def all(self) -> list[Object]:
        return [*self.old, *([self.new] if self.new else [])]


def plan(world: World, key: Key, now: float) -> Plan:
    """Returns the next step of a rollout and the status to write."""
    result = Plan()
    deployment = world.at(key)
    if deployment is None:
        return result
    rollout = _read(world, deployment)
    if is_terminating(deployment):
        _status(result, rollout, now)
        return result
    paused = deployment["spec"].get("paused", False)
    if rollout.new is None and not paused:
        _create(result, rollout, world)
        return result
    _revise(result, rollout)
    if paused or rollout.new is None:
        _hold(result, rollout)
    elif (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        _recreate(result, rollout, world)
    else:
        _roll(result, rollout)
    if rollout.new is not None and _complete(rollout):
        _clean_up(result, rollout)
    _status(result, rollout, now)
    return result


def _read(world: World, deployment: Object) -> _Rollout:
    spec = deployment["spec"]
    wanted = spec.get("replicas", 1)
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = share(rolling.get("maxSurge"), wanted, up=True, default=0)
    unavailable = share(rolling.get("maxUnavailable"), wanted, up=False, default=0)
    wanted_hash = template_hash(spec["template"])
    sets = world.owned(deployment, REPLICA_SETS)
    new = next((rs for rs in sets if _labels(rs).get(_HASH) == wanted_hash), None)
    return _Rollout(
        deployment,
        new,
        [rs for rs in sets if rs is not new],
        wanted,
        surge,
        unavailable if surge or unavailable else 1,
    )


def _create(result: Plan, rollout: _Rollout, world: World) -> None:
    deployment = rollout.deployment
    spec = deployment["spec"]
    name = template_hash(spec["template"])
    template = spec["template"]
    labels = {**((template.get("metadata") or {}).get("labels") or {}), _HASH: name}
    selector = spec["selector"]
    recreate = (spec.get("strategy") or {}).get("type") == "Recreate"
    if recreate:
        busy = any(_replicas(rs) or world.owned(rs, PODS) for rs in rollout.old)
        replicas = 0 if busy else rollout.wanted
    else:
        total = sum(_replicas(rs) for rs in rollout.old)
        replicas = max(min(rollout.wanted, rollout.wanted + rollout.surge - total), 0)
    copied = {
        key: value
        for key, value in (deployment["metadata"].get("annotations") or {}).items()
        if key not in _KEPT_FROM_COPY
    }
    body: Object = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{name}",
            "namespace": deployment["metadata"]["namespace"],
            "labels": labels,
            "annotations": {
                **copied,
                _REVISION: str(_newest(rollout.old) + 1),
                _DESIRED: str(rollout.wanted),
                _MAX: str(rollout.wanted + rollout.surge),
            },
            "ownerReferences": [owner_reference(DEPLOYMENTS, deployment)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "selector": {
                **selector,
                "matchLabels": {**(selector.get("matchLabels") or {}), _HASH: name},
            },
            "template": {**template, "metadata": {**(template.get("metadata") or {})}},
        },
    }
    body["spec"]["template"]["metadata"]["labels"] = labels
    result.actions.append(Create(REPLICA_SETS, body))
    if replicas:
        result.actions.append(_scaled(deployment, body, 0, replicas))


def _revise(result: Plan, rollout: _Rollout) -> None:
    new = rollout.new
    if new is None:
        return
    newest = _newest(rollout.old)
    revision = _revision(new)
    if revision <= newest:
        revision = newest + 1
        patch = {"metadata": {"annotations": {_REVISION: str(revision)}}}
        result.actions.append(Merge(REPLICA_SETS, new, patch))
    annotations = rollout.deployment["metadata"].get("annotations") or {}
    if annotations.get(_REVISION) != str(revision):
        patch = {"metadata": {"annotations": {_REVISION: str(revision)}}}
        result.actions.append(Merge(DEPLOYMENTS, rollout.deployment, patch))


def _hold(result: Plan, rollout: _Rollout) -> None:
    """A paused rollout still follows `replicas` with its only active replica set."""
    active = [rs for rs in rollout.all if _replicas(rs)]
    if len(active) <= 1:
        target = active[0] if active else rollout.new
        if target is not None:
            _scale(result, rollout, target, rollout.wanted)


def _recreate(result: Plan, rollout: _Rollout, world: World) -> None:
    old = [rs for rs in rollout.old if _replicas(rs)]
    for rs in old:
        _scale(result, rollout, rs, 0)
    left = any(world.owned(rs, PODS) for rs in rollout.old)
    if not old and not left and rollout.new is not None:
        _scale(result, rollout, rollout.new, rollout.wanted)


def _roll(result: Plan, rollout: _Rollout) -> None:
    new = rollout.new
    assert new is not None
    if _replicas(new) > rollout.wanted:
        _scale(result, rollout, new, rollout.wanted)
        return
    total = sum(_replicas(rs) for rs in rollout.all)
    room = rollout.wanted + rollout.surge - total
    if _replicas(new) < rollout.wanted and room > 0:
        _scale(result, rollout, new, min(rollout.wanted, _replicas(new) + room))
        return
    _shrink(result, rollout, new, total)


def _shrink(result: Plan, rollout: _Rollout, new: Object, total: int) -> None:
    available_min = rollout.wanted - rollout.unavailable
    new_missing = _replicas(new) - _count(new, "availableReplicas")
    budget = total - available_min - new_missing
    old = sorted(rollout.old, key=lambda rs: unix(rs["metadata"].get("creationTimestamp")))
    targets = {rs["metadata"]["name"]: _replicas(rs) for rs in old}
    for rs in old:
        unhealthy = _replicas(rs) - _count(rs, "availableReplicas")
        drop = min(max(budget, 0), max(unhealthy, 0))
        targets[rs["metadata"]["name"]] -= drop
        budget -= drop
    spare = sum(_count(rs, "availableReplicas") for rs in rollout.all) - available_min
    for rs in old:
        name = rs["metadata"]["name"]
        drop = min(max(spare, 0), max(budget, 0), targets[name])
        targets[name] -= drop
        spare -= drop
        budget -= drop
    for rs in old:
        _scale(result, rollout, rs, targets[rs["metadata"]["name"]])


def _scale(result: Plan, rollout: _Rollout, rs: Object, replicas: int) -> None:
    annotations = rs["metadata"].get("annotations") or {}
    marks = {_DESIRED: str(rollout.wanted), _MAX: str(rollout.wanted + rollout.surge)}
    before = _replicas(rs)
    if before == replicas:
        return
    patch: Object = {"spec": {"replicas": replicas}}
    if any(annotations.get(key) != value for key, value in marks.items()):
        patch["metadata"] = {"annotations": marks}
    result.actions.append(Merge(REPLICA_SETS, rs, patch))
    result.actions.append(_scaled(rollout.deployment, rs, before, replicas))


def _scaled(deployment: Object, rs: Object, before: int, after: int) -> Emit:
    way = "up" if after > before else "down"
    message = f"Scaled {way} replica set {rs['metadata']['name']} from {before} to {after}"
    return Emit(DEPLOYMENTS, deployment, "ScalingReplicaSet", message)


def _clean_up(result: Plan, rollout: _Rollout) -> None:
    keep = rollout.deployment["spec"].get("revisionHistoryLimit", 10)
    idle = [rs for rs in rollout.old if not _replicas(rs) and not _count(rs, "replicas")]
    idle.sort(key=_revision)
    for rs in idle[: max(len(idle) - keep, 0)]:
        if not is_terminating(rs):
            result.actions.append(Delete(REPLICA_SETS, rs))


def _complete(rollout: _Rollout) -> bool:
    new = rollout.new
    return (
        new is not None
        and _count(new, "replicas") == rollout.wanted == _count(new, "availableReplicas")
        and all(not _count(rs, "replicas") for rs in rollout.old)
    )


def _status(result: Plan, rollout: _Rollout, now: float) -> None:
    deployment = rollout.deployment
    before = deployment.get("status") or {}
    total = sum(_count(rs, "replicas") for rs in rollout.all)
    available = sum(_count(rs, "availableReplicas") for rs in rollout.all)
    counts = {
        "replicas": total,
        "updatedReplicas": _count(rollout.new, "replicas"),
        "readyReplicas": sum(_count(rs, "readyReplicas") for rs in rollout.all),
        "availableReplicas": available,
        "unavailableReplicas": max(rollout.wanted - available, total - available, 0),
    }
    status: Object = {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        **{name: count for name, count in counts.items() if count},
        "conditions": _conditions(result, rollout, before, counts, now),
    }
    changed = with_status(deployment, status)
    if changed is not None:
        result.actions.append(Status(DEPLOYMENTS, changed))


def _conditions(
    result: Plan, rollout: _Rollout, before: Object, counts: dict[str, int], now: float
) -> list[Object]:
    old: list[Object] = before.get("conditions") or []
    enough = counts["availableReplicas"] >= rollout.wanted - rollout.unavailable
    available = condition(
        old,
        "Available",
        "True" if enough else "False",
        "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "Deployment has minimum availability."
        if enough
        else "Deployment does not have minimum availability.",
        now,
    )
    return [available, _progress(result, rollout, before, counts, old, now)]


def _progress(
    result: Plan,
    rollout: _Rollout,
    before: Object,
    counts: dict[str, int],
    old: list[Object],
    now: float,
) -> Object:
    name = rollout.new["metadata"]["name"] if rollout.new else "?"
    if _complete(rollout):
        return condition(
            old,
            "Progressing",
            "True",
            "NewReplicaSetAvailable",
            f'ReplicaSet "{name}" has successfully progressed.',
            now,
        )
    known = next((entry for entry in old if entry["type"] == "Progressing"), None)
    moved = known is None or any(before.get(key, 0) != value for key, value in counts.items())
    if moved or known is None or known.get("reason") == "NewReplicaSetAvailable":
        fresh = condition(
            [],
            "Progressing",
            "True",
            "ReplicaSetUpdated",
            f'ReplicaSet "{name}" is progressing.',
            now,
        )
        if known is not None and known["status"] == "True":
            fresh["lastTransitionTime"] = known["lastTransitionTime"]
        known = fresh
    deadline_s = rollout.deployment["spec"].get("progressDeadlineSeconds", 600)
    left_s = unix(known["lastUpdateTime"]) + deadline_s - now
    if left_s > 0:
        result.again(left_s)
        return known
    return condition(
        old,
        "Progressing",
        "False",
        "ProgressDeadlineExceeded",
        f'ReplicaSet "{name}" has timed out progressing.',
        now,
    )


def _labels(obj: Object) -> dict[str, Any]:
    return obj["metadata"].get("labels") or {}


def _replicas(rs: Object) -> int:
    return int(rs["spec"].get("replicas", 1))


def _count(obj: Object | None, field: str) -> int:
    return int(((obj or {}).get("status") or {}).get(field, 0))


def _revision(rs: Object) -> int:
    return int((rs["metadata"].get("annotations") or {}).get(_REVISION, 0))


def _newest(sets: list[Object]) -> int:
    return max(map(_revision, sets), default=0)
