"""CronJob: a Job at each time of a schedule.

Source: kubernetes pkg/controller/cronjob/cronjob_controllerv2.go.
"""

from __future__ import annotations

import datetime
import zoneinfo

from linkerd.kube.resources import CRON_JOBS, JOBS
from linkerd.local.controllers import schedule
from linkerd.local.controllers.facts import Object, is_terminating, stamp, unix
from linkerd.local.controllers.job import finished_as
from linkerd.local.controllers.plan import (
    Create,
    Delete,
    Emit,
    Plan,
    Status,
    owner_reference,
    with_status,
)
from linkerd.local.controllers.world import Key, World

# Runs that were missed while nothing ran are not made up for beyond this many.
_MISSED_MAX = 100


def plan(world: World, key: Key, now: float) -> Plan:
    """Returns the job to start, the old ones to delete and the status to write."""
    result = Plan()
    cron = world.at(key)
    if cron is None or is_terminating(cron):
        return result
    jobs = world.owned(cron, JOBS)
    active = [job for job in jobs if finished_as(job) is None]
    _clean_up(result, cron, jobs)
    status = dict(cron.get("status") or {})
    if not cron["spec"].get("suspend"):
        active = _run(result, cron, status, active, now)
    status["active"] = [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": job["metadata"]["name"],
            "namespace": job["metadata"]["namespace"],
            "uid": job["metadata"]["uid"],
        }
        for job in active
    ]
    if not status["active"]:
        del status["active"]
    succeeded = [job for job in jobs if finished_as(job) == "Complete"]
    if succeeded:
        status["lastSuccessfulTime"] = max(job["status"]["completionTime"] for job in succeeded)
    changed = with_status(cron, status)
    if changed is not None:
        result.actions.append(Status(CRON_JOBS, changed))
    return result


def _run(
    result: Plan, cron: Object, status: Object, active: list[Object], now: float
) -> list[Object]:
    spec = cron["spec"]
    try:
        times = schedule.parse(spec["schedule"])
        zone = zoneinfo.ZoneInfo(spec.get("timeZone") or "UTC")
    except (ValueError, zoneinfo.ZoneInfoNotFoundError) as error:
        result.actions.append(Emit(CRON_JOBS, cron, "UnparseableSchedule", str(error), "Warning"))
        return active
    last = status.get("lastScheduleTime") or cron["metadata"]["creationTimestamp"]
    due, upcoming = _due(times, unix(last), now, zone)
    if upcoming is not None:
        result.again(upcoming - now)
    if due is None:
        return active
    deadline_s = spec.get("startingDeadlineSeconds")
    if deadline_s is not None and now - due > deadline_s:
        return active
    policy = spec.get("concurrencyPolicy", "Allow")
    if active and policy == "Forbid":
        return active
    if policy == "Replace":
        for job in active:
            result.actions.append(Delete(JOBS, job))
        active = []
    result.actions.append(Create(JOBS, _job(cron, due)))
    status["lastScheduleTime"] = stamp(due)
    return active


def _due(
    times: schedule.Schedule, since: float, now: float, zone: datetime.tzinfo
) -> tuple[float | None, float | None]:
    due: float | None = None
    when = datetime.datetime.fromtimestamp(since, zone)
    for _ in range(_MISSED_MAX):
        run = times.after(when)
        if run is None:
            return due, None
        if run.timestamp() > now:
            return due, run.timestamp()
        due, when = run.timestamp(), run
    # Too many were missed: only what comes next counts.
    run = times.after(datetime.datetime.fromtimestamp(now, zone))
    return None, run.timestamp() if run else None


def _job(cron: Object, due: float) -> Object:
    template = cron["spec"]["jobTemplate"]
    metadata = template.get("metadata") or {}
    annotations = {
        **(metadata.get("annotations") or {}),
        "batch.kubernetes.io/cronjob-scheduled-timestamp": stamp(due),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{cron['metadata']['name']}-{int(due) // 60}",
            "namespace": cron["metadata"]["namespace"],
            "labels": metadata.get("labels") or {},
            "annotations": annotations,
            "ownerReferences": [owner_reference(CRON_JOBS, cron)],
        },
        "spec": template["spec"],
    }


def _clean_up(result: Plan, cron: Object, jobs: list[Object]) -> None:
    for outcome, field, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        ended = [job for job in jobs if finished_as(job) == outcome and not is_terminating(job)]
        ended.sort(key=lambda job: str(job["metadata"]["creationTimestamp"]))
        for job in ended[: max(len(ended) - cron["spec"].get(field, default), 0)]:
            result.actions.append(Delete(JOBS, job))
