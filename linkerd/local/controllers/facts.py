"""Facts about pods, times, counts and templates that several controllers need."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from typing import Any

from linkerd.kube.resources import PODS, Resource
from linkerd.local.controllers.plan import Create, owner_reference

Object = dict[str, Any]

# No vowels, so that no word appears; no digits that look like letters.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def stamp(now: float) -> str:
    """Returns a Unix time as Kubernetes writes it."""
    when = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def unix(text: str | None) -> float:
    """Returns the Unix time of a Kubernetes timestamp; 0 for None."""
    if not text:
        return 0.0
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def is_terminating(obj: Object) -> bool:
    """Returns whether an object is being deleted."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def is_finished(pod: Object) -> bool:
    """Returns whether a pod ended for good."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Returns whether a pod counts towards its controller's replicas."""
    return not is_terminating(pod) and not is_finished(pod)


def ready_since(pod: Object) -> float | None:
    """Returns the Unix time since which a pod is ready, None if it is not."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            return unix(condition.get("lastTransitionTime"))
    return None


def available_in_s(pod: Object, min_ready_s: float, now: float) -> float | None:
    """Returns in how many seconds a pod is available (0: it is), None while it is not ready."""
    since = ready_since(pod)
    if since is None or is_terminating(pod):
        return None
    return 0.0 if min_ready_s == 0 else max(since + min_ready_s - now, 0.0)


def template_hash(template: Object) -> str:
    """Returns the short name of a pod template, the same for equal templates."""
    digest = hashlib.blake2b(json.dumps(template, sort_keys=True).encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    letters = []
    for _ in range(10):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return "".join(letters)


def share(value: int | str | None, total: int, *, up: bool, default: int = 0) -> int:
    """Returns a count that is given as a number or as a percentage of `total`."""
    if value is None:
        return default
    if isinstance(value, str) and value.endswith("%"):
        exact = int(value[:-1]) * total / 100
        return math.ceil(exact) if up else math.floor(exact)
    return int(value)


def condition(
    old: list[Object], type: str, status: str, reason: str, message: str, now: float
) -> Object:
    """Returns a condition whose times move only when it changes.

    Source: kubernetes pkg/controller/deployment/util/deployment_util.go SetDeploymentCondition.
    """
    before = next((entry for entry in old if entry.get("type") == type), None)
    same = before is not None and before["status"] == status and before.get("reason") == reason
    if before is not None and same and before.get("message") == message:
        return before
    transitioned = before is not None and before["status"] == status
    time = stamp(now)
    return {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": time,
        "lastTransitionTime": (before or {}).get("lastTransitionTime", time)
        if transitioned
        else time,
    }


def pod_from(
    resource: Resource, owner: Object, template: Object, *, name: str = "", **labels: str
) -> Create:
    """Returns the creation of a pod of `template` that `owner` controls.

    Args:
        resource: Kind of the owner.
        owner: The controller.
        template: `spec.template`.
        name: Of the pod; default: the owner's name, a dash and what the server appends.
        labels: Labels to add; `_` stands for `-`.
    """
    metadata = template.get("metadata") or {}
    named = {"name": name} if name else {"generateName": f"{owner['metadata']['name']}-"}
    extra = {key.replace("_", "-"): value for key, value in labels.items()}
    body: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **named,
            "namespace": owner["metadata"]["namespace"],
            "labels": {**(metadata.get("labels") or {}), **extra},
            "ownerReferences": [owner_reference(resource, owner)],
        },
        "spec": template["spec"],
    }
    if metadata.get("annotations"):
        body["metadata"]["annotations"] = metadata["annotations"]
    return Create(PODS, body)


def deletion_rank(pod: Object) -> tuple[bool, bool, float]:
    """Orders pods by which is given up first: unplaced, then not ready, then the youngest.

    Source: kubernetes pkg/controller/controller_utils.go ActivePodsWithRanks.
    """
    placed = bool((pod.get("spec") or {}).get("nodeName"))
    ready = ready_since(pod) is not None
    return (placed, ready, -unix(pod["metadata"].get("creationTimestamp")))


def matches(selector: Object | None, labels: Object | None) -> bool:
    """Returns whether a label selector (matchLabels, matchExpressions) selects `labels`.

    Source: Kubernetes apimachinery pkg/apis/meta/v1 LabelSelector.
    """
    present = labels or {}
    chosen = selector or {}
    if any(present.get(key) != value for key, value in (chosen.get("matchLabels") or {}).items()):
        return False
    return all(_expression(entry, present) for entry in chosen.get("matchExpressions") or ())


def _expression(entry: Object, labels: Object) -> bool:
    value = labels.get(entry["key"])
    values = entry.get("values") or ()
    operator = entry["operator"]
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    return bool((entry["key"] in labels) == (operator == "Exists"))
