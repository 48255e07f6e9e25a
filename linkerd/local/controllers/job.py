"""Job: pods that run to their end, a number of times, some at once.

Indexed completion and pod failure policies are not there; a Job that asks for them says so in an
event and is not run. Source: kubernetes pkg/controller/job/job_controller.go.
"""

from __future__ import annotations

from linkerd.kube.resources import JOBS, PODS
from linkerd.local.controllers.facts import (
    Object,
    is_active,
    is_terminating,
    pod_from,
    ready_since,
    stamp,
    unix,
)
from linkerd.local.controllers.plan import Delete, Emit, Plan, Status, with_status
from linkerd.local.controllers.world import Key, World

_BACKOFF_MIN_S = 10.0
_BACKOFF_MAX_S = 600.0


def plan(world: World, key: Key, now: float) -> Plan:
    """Returns the pods to create or delete and the status to write."""
    result = Plan()
    job = world.at(key)
    if job is None or is_terminating(job):
        return result
    spec = job["spec"]
    missing = [name for name in ("podFailurePolicy", "successPolicy") if spec.get(name)]
    if spec.get("completionMode", "NonIndexed") != "NonIndexed":
        missing.append("completionMode")
    if missing:
        message = f"this cluster does not have {', '.join(missing)}; the job is not run"
        if not (job.get("status") or {}).get("startTime"):
            result.actions.append(Emit(JOBS, job, "Unsupported", message, "Warning"))
            marked = {**(job.get("status") or {}), "startTime": stamp(now)}
            result.actions.append(Status(JOBS, {**job, "status": marked}))
        return result
    if _finished(job):
        _expire(result, job, now)
        return result
    _run(result, job, world.owned(job, PODS), now)
    return result


def _run(result: Plan, job: Object, pods: list[Object], now: float) -> None:
    spec = job["spec"]
    status = dict(job.get("status") or {})
    active = [pod for pod in pods if is_active(pod)]
    succeeded = sum(_phase(pod) == "Succeeded" for pod in pods)
    failed = sum(_phase(pod) == "Failed" for pod in pods)
    status.setdefault("startTime", stamp(now))
    outcome = _outcome(spec, status, succeeded, failed, pods, now)
    if outcome is not None:
        type, reason, message = outcome
        for pod in active:
            result.actions.append(Delete(PODS, pod))
        active = []
        _conclude(status, type, reason, message, now)
        result.actions.append(
            Emit(
                JOBS, job, "Completed" if type == "Complete" else reason, message or "Job completed"
            )
        )
    elif spec.get("suspend"):
        for pod in active:
            result.actions.append(Delete(PODS, pod))
        active = []
    else:
        _start(result, job, pods, active, succeeded, failed, now)
        if spec.get("activeDeadlineSeconds"):
            result.again(unix(status["startTime"]) + spec["activeDeadlineSeconds"] - now)
    counts = {
        "active": len(active),
        "ready": sum(ready_since(pod) is not None for pod in active),
        "succeeded": succeeded,
        "failed": failed,
    }
    for name, count in counts.items():
        if count or name == "ready":
            status[name] = count
        else:
            status.pop(name, None)
    changed = with_status(job, status)
    if changed is not None:
        result.actions.append(Status(JOBS, changed))


def _start(
    result: Plan,
    job: Object,
    pods: list[Object],
    active: list[Object],
    succeeded: int,
    failed: int,
    now: float,
) -> None:
    spec = job["spec"]
    parallelism = spec.get("parallelism", 1)
    completions = spec.get("completions")
    if completions is not None:
        wanted = min(parallelism, completions - succeeded)
    else:
        wanted = len(active) if succeeded else parallelism
    if failed:
        last = max(_ended(pod) for pod in pods if _phase(pod) == "Failed")
        wait_s = last + min(_BACKOFF_MIN_S * 2 ** (failed - 1), _BACKOFF_MAX_S) - now
        if wait_s > 0 and len(active) < wanted:
            result.again(wait_s)
            return
    for _ in range(wanted - len(active)):
        result.actions.append(pod_from(JOBS, job, spec["template"]))
    for pod in active[max(wanted, 0) :]:
        result.actions.append(Delete(PODS, pod))


def _outcome(
    spec: Object, status: Object, succeeded: int, failed: int, pods: list[Object], now: float
) -> tuple[str, str, str] | None:
    restarts = sum(_restarts(pod) for pod in pods if is_active(pod))
    if failed + restarts > spec.get("backoffLimit", 6):
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    deadline_s = spec.get("activeDeadlineSeconds")
    if deadline_s is not None and now >= unix(status["startTime"]) + deadline_s:
        return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
    completions = spec.get("completions")
    if completions is None:
        done = succeeded > 0 and not any(is_active(pod) for pod in pods)
    else:
        done = succeeded >= completions
    return ("Complete", "CompletionsReached", "") if done else None


def _conclude(status: Object, type: str, reason: str, message: str, now: float) -> None:
    time = stamp(now)
    entries = [(type, reason, message)]
    if type == "Complete":
        entries.insert(
            0, ("SuccessCriteriaMet", reason, "Reached expected number of succeeded pods")
        )
        status["completionTime"] = time
    status["conditions"] = [
        *(status.get("conditions") or ()),
        *(
            {
                "type": name,
                "status": "True",
                "reason": why,
                "message": text,
                "lastProbeTime": time,
                "lastTransitionTime": time,
            }
            for name, why, text in entries
        ),
    ]


def _expire(result: Plan, job: Object, now: float) -> None:
    ttl_s = job["spec"].get("ttlSecondsAfterFinished")
    if ttl_s is None:
        return
    ended = max(unix(entry["lastTransitionTime"]) for entry in job["status"]["conditions"])
    if now >= ended + ttl_s:
        result.actions.append(Delete(JOBS, job))
    else:
        result.again(ended + ttl_s - now)


def _finished(job: Object) -> bool:
    return finished_as(job) is not None


def finished_as(job: Object) -> str | None:
    """Returns `Complete` or `Failed` for a job that ended, else None."""
    for entry in (job.get("status") or {}).get("conditions") or ():
        if entry["type"] in ("Complete", "Failed") and entry["status"] == "True":
            return str(entry["type"])
    return None


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def _restarts(pod: Object) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return sum(entry.get("restartCount", 0) for entry in statuses)


def _ended(pod: Object) -> float:
    ends = [
        unix(((entry.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for entry in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    return max(ends, default=0.0) or unix(pod["metadata"].get("creationTimestamp"))
