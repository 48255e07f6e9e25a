"""StatefulSet: pods with names that stay, started in order and updated from the last.

Claims made of volumeClaimTemplates outlive pods and set, as Kubernetes does by default.
Source: kubernetes pkg/controller/statefulset/stateful_set_control.go, stateful_set_utils.go.
"""

from __future__ import annotations

from linkerd.kube.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from linkerd.local.controllers.facts import (
    Object,
    available_in_s,
    is_finished,
    is_terminating,
    pod_from,
    ready_since,
    template_hash,
)
from linkerd.local.controllers.plan import Create, Delete, Plan, Status, with_status
from linkerd.local.controllers.world import Key, World

_HASH = "controller-revision-hash"


def plan(world: World, key: Key, now: float) -> Plan:
    """Returns the next pod to create or delete and the status to write."""
    result = Plan()
    stateful_set = world.at(key)
    if stateful_set is None or is_terminating(stateful_set):
        return result
    spec = stateful_set["spec"]
    revision = template_hash(spec["template"])
    pods = {_ordinal(pod): pod for pod in world.owned(stateful_set, PODS)}
    _step(result, world, stateful_set, pods, revision, now)
    _status(result, stateful_set, list(pods.values()), revision, now)
    return result


def _step(
    result: Plan,
    world: World,
    stateful_set: Object,
    pods: dict[int, Object],
    revision: str,
    now: float,
) -> None:
    spec = stateful_set["spec"]
    parallel = spec.get("podManagementPolicy") == "Parallel"
    start = (spec.get("ordinals") or {}).get("start", 0)
    wanted = range(start, start + spec.get("replicas", 1))
    for ordinal in wanted:
        pod = pods.get(ordinal)
        if pod is None:
            for body in _claims(stateful_set, ordinal).values():
                meta = body["metadata"]
                if world.get(PERSISTENT_VOLUME_CLAIMS, meta["name"], meta["namespace"]) is None:
                    result.actions.append(Create(PERSISTENT_VOLUME_CLAIMS, body))
            result.actions.append(_pod(stateful_set, ordinal, revision))
        elif is_finished(pod) and not is_terminating(pod):
            result.actions.append(Delete(PODS, pod))
        elif _steady(result, spec, pod, now):
            continue
        if not parallel:
            return
    surplus = sorted((ordinal for ordinal in pods if ordinal not in wanted), reverse=True)
    for ordinal in surplus:
        if not is_terminating(pods[ordinal]):
            result.actions.append(Delete(PODS, pods[ordinal]))
        if not parallel:
            return
    _update(result, stateful_set, pods, wanted, revision)


def _update(
    result: Plan, stateful_set: Object, pods: dict[int, Object], wanted: range, revision: str
) -> None:
    strategy = stateful_set["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    for ordinal in reversed(wanted):
        pod = pods.get(ordinal)
        if pod is None or is_terminating(pod):
            return
        if ordinal >= partition and pod["metadata"]["labels"].get(_HASH) != revision:
            result.actions.append(Delete(PODS, pod))
            return
        if ready_since(pod) is None:
            return


def _steady(result: Plan, spec: Object, pod: Object, now: float) -> bool:
    wait = available_in_s(pod, spec.get("minReadySeconds", 0), now)
    if wait:
        result.again(wait)
    return wait == 0


def _pod(stateful_set: Object, ordinal: int, revision: str) -> Create:
    name = f"{stateful_set['metadata']['name']}-{ordinal}"
    created = pod_from(STATEFUL_SETS, stateful_set, stateful_set["spec"]["template"], name=name)
    created.body["metadata"]["labels"] = {
        **created.body["metadata"]["labels"],
        _HASH: revision,
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(ordinal),
    }
    created.body["spec"] = {
        **created.body["spec"],
        "hostname": name,
        "subdomain": stateful_set["spec"].get("serviceName", ""),
    }
    claims = _claims(stateful_set, ordinal)
    if claims:
        others = [v for v in created.body["spec"].get("volumes") or () if v["name"] not in claims]
        created.body["spec"]["volumes"] = others + [
            {"name": volume, "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
            for volume, claim in claims.items()
        ]
    return created


def _claims(stateful_set: Object, ordinal: int) -> dict[str, Object]:
    """Returns the claims of one pod, by the name of their volume."""
    meta = stateful_set["metadata"]
    found: dict[str, Object] = {}
    for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
        volume = template["metadata"]["name"]
        found[volume] = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                **template["metadata"],
                "name": f"{volume}-{meta['name']}-{ordinal}",
                "namespace": meta["namespace"],
                "labels": {
                    **(template["metadata"].get("labels") or {}),
                    **((stateful_set["spec"].get("selector") or {}).get("matchLabels") or {}),
                },
            },
            "spec": template["spec"],
        }
    return found


def _status(
    result: Plan, stateful_set: Object, pods: list[Object], revision: str, now: float
) -> None:
    min_ready_s = stateful_set["spec"].get("minReadySeconds", 0)
    updated = [pod for pod in pods if pod["metadata"]["labels"].get(_HASH) == revision]
    status = {
        "replicas": len(pods),
        "readyReplicas": sum(ready_since(pod) is not None for pod in pods),
        "availableReplicas": sum(available_in_s(pod, min_ready_s, now) == 0 for pod in pods),
        "currentReplicas": len(updated),
        "updatedReplicas": len(updated),
        "currentRevision": f"{stateful_set['metadata']['name']}-{revision}",
        "updateRevision": f"{stateful_set['metadata']['name']}-{revision}",
        "observedGeneration": stateful_set["metadata"].get("generation", 1),
    }
    changed = with_status(stateful_set, status)
    if changed is not None:
        result.actions.append(Status(STATEFUL_SETS, changed))


def _ordinal(pod: Object) -> int:
    tail = str(pod["metadata"]["name"]).rpartition("-")[2]
    return int(tail) if tail.isdigit() else -1
