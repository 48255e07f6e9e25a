"""Scheduling on one node: a pod is bound at once, or told why it cannot be.

Resources are not counted; taints do not exist here.
"""

from __future__ import annotations

from linkerd.kube.resources import NODES, PODS
from linkerd.local.controllers.facts import Object, is_active, matches, stamp
from linkerd.local.controllers.plan import Bind, Plan, Status
from linkerd.local.controllers.world import Key, World


def plan(world: World, key: Key, now: float) -> Plan:
    """Returns the binding of a pod that has no node yet."""
    result = Plan()
    pod = world.at(key)
    if pod is None or not is_active(pod) or pod["spec"].get("nodeName"):
        return result
    if pod["spec"].get("schedulerName", "default-scheduler") != "default-scheduler":
        return result
    if pod["spec"].get("schedulingGates"):
        return result
    nodes = list(world.all(NODES))
    chosen = next((node for node in nodes if fits(pod["spec"], node)), None)
    if chosen is not None:
        result.actions.append(Bind(pod, chosen["metadata"]["name"]))
        return result
    message = f"0/{len(nodes)} nodes are available: the pod's node selector matches none"
    status = pod.get("status") or {}
    known = next((c for c in status.get("conditions") or () if c["type"] == "PodScheduled"), None)
    if known is None or known.get("message") != message:
        others = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"]
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": stamp(now),
        }
        changed = {**status, "conditions": [*others, condition]}
        result.actions.append(Status(PODS, {**pod, "status": changed}))
    return result


def fits(spec: Object, node: Object) -> bool:
    """Returns whether a pod of `spec` may run on a node, by its selector and required affinity."""
    labels = node["metadata"].get("labels") or {}
    if not matches({"matchLabels": spec.get("nodeSelector")}, labels):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms")
    if not terms:
        return True
    return any(
        matches({"matchExpressions": term.get("matchExpressions")}, labels) for term in terms
    )
