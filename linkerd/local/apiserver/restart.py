"""What the store says of pods whose containers ended with the cluster. Pure but for `run`.

Without this, pods would be shown as Ready after a start until the node got to each of them.
Source: Kubernetes pkg/kubelet (a container that is not found any more ended with 255, "Unknown").
"""

from __future__ import annotations

from typing import Any

from linkerd.local.store import Store

_EXIT_CODE = 255
_REASON = "Unknown"
_OVER = ("Succeeded", "Failed")
_FALSE_NOW = ("PodReadyToStartContainers", "Ready", "ContainersReady")

Obj = dict[str, Any]


def run(store: Store, now: str) -> int:
    """Corrects every pod that had been running; returns how many.

    Args:
        store: Of a cluster none of whose containers runs.
        now: RFC 3339.
    """
    changed = 0
    for entry in store.list("pods"):
        pod = without_containers(entry.decode(), now)
        if pod is not None:
            store.update("pods", pod)
            changed += 1
    return changed


def without_containers(pod: Obj, now: str) -> Obj | None:
    """Returns the pod as it is once its containers are gone, None if nothing changes.

    Args:
        pod: From the store; not changed.
        now: RFC 3339, when what ran is said to have ended.
    """
    status = pod.get("status") or {}
    if status.get("phase") in _OVER or not status.get("containerStatuses"):
        return None
    new = dict(status)
    for key in ("initContainerStatuses", "containerStatuses"):
        if status.get(key):
            new[key] = [_ended(entry, now) for entry in status[key]]
    unready = [entry["name"] for entry in new["containerStatuses"]]
    message = f"containers with unready status: [{' '.join(unready)}]"
    new["conditions"] = [
        _condition(entry, now, message) if entry["type"] in _FALSE_NOW else entry
        for entry in status.get("conditions") or ()
    ]
    return {**pod, "status": new} if new != status else None


def _ended(entry: Obj, now: str) -> Obj:
    """A container's status: what ran has ended; what had ended or never ran stays as it is."""
    running = (entry.get("state") or {}).get("running")
    if running is None:
        return entry
    terminated = {
        "exitCode": _EXIT_CODE,
        "reason": _REASON,
        "startedAt": running.get("startedAt"),
        "finishedAt": now,
    }
    if entry.get("containerID"):
        terminated["containerID"] = entry["containerID"]
    return {**entry, "ready": False, "started": False, "state": {"terminated": terminated}}


def _condition(entry: Obj, now: str, message: str) -> Obj:
    if entry.get("status") == "False":
        return entry
    result = {**entry, "status": "False", "lastTransitionTime": now}
    if entry["type"] != "PodReadyToStartContainers":
        result |= {"reason": "ContainersNotReady", "message": message}
    return result
