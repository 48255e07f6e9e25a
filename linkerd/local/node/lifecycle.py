"""What to do next with a pod's containers, and what to tell the API about it. Pure.

    steps(pod, containers, now)   which containers to start, and when to look again
    status(pod, containers, …)    the pod's status as kubelet writes it

Order of a pod's life: init containers one after another (one with `restartPolicy: Always` is a
sidecar: it only has to have started), then all others in the order of the spec.
Source: Kubernetes pkg/kubelet/kuberuntime/kuberuntime_manager.go (computePodActions),
pkg/kubelet/status/generate.go (conditions), pkg/kubelet/kubelet_pods.go (phases, waiting reasons).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Seconds before the second restart; doubles with each up to the maximum.
BACKOFF_S = 10.0
BACKOFF_MAX_S = 300.0
#: A container that ran this long starts over with the shortest wait.
BACKOFF_RESET_S = 600.0

Object = dict[str, Any]


@dataclass(slots=True)
class Ended:
    """How one run of a container ended; times are RFC 3339."""

    code: int
    signal: int = 0
    reason: str = ""
    message: str = ""
    started: str = ""
    finished: str = ""
    id: str = ""


@dataclass(slots=True)
class Container:
    """One container of a pod: its spec and what is known of its runs.

    `begun` says that it ran in the pod's present sandbox; `since` and `retry_at` are monotonic.
    """

    spec: Mapping[str, Any]
    init: bool = False
    running_since: str | None = None
    ended: Ended | None = None
    last: Ended | None = None
    waiting: str = ""
    waiting_message: str = ""
    begun: bool = False
    since: float = 0.0
    attempt: int = -1
    restarts: int = 0
    started: bool = False
    ready: bool = False
    retry_at: float = 0.0
    backoff_s: float = 0.0
    id: str = ""

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.spec["name"])

    @property
    def sidecar(self) -> bool:
        """Whether this is an init container that goes on running."""
        return self.init and self.spec.get("restartPolicy") == "Always"

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.running_since is not None

    @property
    def done(self) -> bool:
        """Whether it is an init container that does not hold up the pod any more."""
        if self.sidecar:
            return self.running and self.started
        return self.ended is not None and self.ended.code == 0


@dataclass(slots=True)
class Steps:
    """What to do now."""

    start: list[str] = field(default_factory=list)
    wake_at: float | None = None
    finished: bool = False
    """All that has to run has run: end the sidecars and be done."""


def containers_of(pod: Mapping[str, Any]) -> dict[str, Container]:
    """Returns a pod's containers by name, in start order, none of which has run yet."""
    spec = pod["spec"]
    every = [Container(item, init=True) for item in spec.get("initContainers") or ()]
    every += [Container(item) for item in spec["containers"]]
    return {container.name: container for container in every}


def restarts(container: Container, pod_policy: str) -> bool:
    """Returns whether a container that ended is started again."""
    assert container.ended is not None
    if container.sidecar:
        return True
    if container.init:
        return container.ended.code != 0 and pod_policy != "Never"
    if pod_policy == "OnFailure":
        return container.ended.code != 0
    return pod_policy == "Always"


def steps(pod: Mapping[str, Any], containers: Mapping[str, Container], now: float) -> Steps:
    """Returns the containers to start now, in order, and when to ask again.

    Args:
        pod: Its spec's restartPolicy matters.
        containers: In start order; `Container.retry_at` is on the clock of `now`.
        now: Monotonic seconds.
    """
    policy = pod["spec"].get("restartPolicy", "Always")
    plan = Steps()
    mains = [c for c in containers.values() if not c.init]
    begun = any(c.begun for c in mains)
    if not begun:
        for container in containers.values():
            if not container.init or container.done:
                continue
            if container.ended is not None and not restarts(container, policy):
                plan.finished = True
                return plan
            _want(plan, container, now)
            return plan
    else:
        for container in containers.values():
            if container.sidecar and not container.running:
                _want(plan, container, now)
    unfinished = False
    for container in mains:
        if container.ended is not None and not restarts(container, policy):
            continue
        unfinished = True
        _want(plan, container, now)
    if not unfinished:
        return Steps(finished=True)
    return plan


def _want(plan: Steps, container: Container, now: float) -> None:
    if container.running:
        return
    if container.retry_at > now:
        plan.wake_at = min(plan.wake_at or container.retry_at, container.retry_at)
    else:
        plan.start.append(container.name)


def ran(container: Container, ended: Ended, now: float, ran_s: float) -> None:
    """Records that a container's process ended, and when it may start again."""
    container.running_since = None
    container.ended = ended
    container.ready = container.started = False
    if ran_s > BACKOFF_RESET_S:
        container.backoff_s = 0.0
    if container.backoff_s == 0.0:  # the first failure that this node has seen
        container.retry_at = now
    else:
        container.retry_at = now + (container.backoff_s or BACKOFF_S)
    container.backoff_s = min(max(container.backoff_s * 2, BACKOFF_S), BACKOFF_MAX_S)


def refused(container: Container, reason: str, message: str, now: float) -> None:
    """Records that a container could not be started, and when to try again.

    Args:
        container: Which.
        reason: Such as `ErrImagePull`; shown while it waits.
        message: What to do about it.
        now: Monotonic seconds.
    """
    container.waiting, container.waiting_message = reason, message
    container.backoff_s = min(max(container.backoff_s * 2, 1.0), BACKOFF_S)
    container.retry_at = now + container.backoff_s


def begin(container: Container) -> None:
    """Records that a new run of a container begins; its process is not there yet."""
    if container.ended is not None:
        container.last = container.ended
        container.restarts += 1
        container.ended = None
    container.attempt += 1
    container.begun = True


def order_of_end(containers: Mapping[str, Container]) -> list[list[str]]:
    """Returns the groups in which running containers are ended: all at once, then the sidecars,
    the one that started last first.
    """
    first = [c.name for c in containers.values() if c.running and not c.sidecar]
    sidecars = [[c.name] for c in containers.values() if c.running and c.sidecar]
    return [group for group in (first, *reversed(sidecars)) if group]


def phase(pod: Mapping[str, Any], containers: Mapping[str, Container]) -> str:
    """Returns the pod's phase: Pending, Running, Succeeded or Failed."""
    policy = pod["spec"].get("restartPolicy", "Always")
    mains = [c for c in containers.values() if not c.init]
    if not any(c.begun for c in mains):
        dead = any(
            c.init and c.ended is not None and not c.done and not restarts(c, policy)
            for c in containers.values()
        )
        return "Failed" if dead else "Pending"
    if any(c.running or c.ended is None or restarts(c, policy) for c in mains):
        return "Running" if any(c.running or c.ended for c in mains) else "Pending"
    failed = any(c.ended is not None and c.ended.code != 0 for c in mains)
    return "Failed" if failed else "Succeeded"


def status(
    pod: Mapping[str, Any],
    containers: Mapping[str, Container],
    *,
    now: str,
    mono: float,
    ip: str = "",
    host_ip: str = "",
    network: bool = False,
    ending: str | None = None,
) -> Object:
    """Returns the pod's status.

    Args:
        pod: As the API has it: times of conditions that do not change are kept from it.
        containers: In start order.
        now: RFC 3339, for what changes now.
        mono: Monotonic seconds, the clock of `Container.retry_at`.
        ip: The pod's address, empty before it has one.
        host_ip: The node's.
        network: Whether the pod's network is made.
        ending: The final phase of a pod whose containers were all ended on purpose.
    """
    old = pod.get("status") or {}
    current = ending or phase(pod, containers)
    result: Object = {
        "phase": current,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": old.get("startTime") or now,
        "qosClass": old.get("qosClass", "BestEffort"),
    }
    if ip:
        result |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    every = list(containers.values())
    init_done = all(c.done or _past(c, containers) for c in every if c.init)
    inits = [_container_status(c, pod, init_done, mono) for c in every if c.init]
    if inits:
        result["initContainerStatuses"] = inits
    result["containerStatuses"] = [
        _container_status(c, pod, init_done, mono) for c in every if not c.init
    ]
    result["conditions"] = list(
        _conditions(pod, containers, current, init_done=init_done, network=network, now=now)
    )
    if old.get("reason") and current == "Failed":
        result |= {key: old[key] for key in ("reason", "message") if old.get(key)}
    return result


def _past(container: Container, containers: Mapping[str, Container]) -> bool:
    """Returns whether an init container was done once, because others have begun since."""
    return container.init and any(not c.init and c.begun for c in containers.values())


def _container_status(
    container: Container, pod: Mapping[str, Any], init_done: bool, mono: float
) -> Object:
    state: Object
    last: Object = {"terminated": _ended(container.last)} if container.last else {}
    if container.running:
        state = {"running": {"startedAt": container.running_since}}
    elif container.waiting:
        state = {"waiting": {"reason": container.waiting, "message": container.waiting_message}}
        if container.ended is not None:
            last = {"terminated": _ended(container.ended)}
    elif container.ended is not None and container.retry_at > mono and _again(container, pod):
        meta = pod["metadata"]
        state = {
            "waiting": {
                "reason": "CrashLoopBackOff",
                "message": f"back-off {max(1, round(container.retry_at - mono))}s restarting failed "
                f"container={container.name} pod={meta['name']}_{meta['namespace']}({meta['uid']})",
            }
        }
        last = {"terminated": _ended(container.ended)}
    elif container.ended is not None:
        state = {"terminated": _ended(container.ended)}
    elif container.init or not init_done:
        state = {"waiting": {"reason": "PodInitializing"}}
    else:
        has_init = bool(pod["spec"].get("initContainers"))
        state = {"waiting": {"reason": "PodInitializing" if has_init else "ContainerCreating"}}
    ready = container.ready
    if container.init and not container.sidecar:
        ready = container.done
    return {
        "name": container.name,
        "state": state,
        "lastState": last,
        "ready": ready,
        "restartCount": container.restarts,
        "image": container.spec.get("image", ""),
        "imageID": image_id(str(container.spec.get("image", ""))) if container.id else "",
        "containerID": container_id(container.id) if container.id else "",
        "started": container.running and container.started,
    }


def _again(container: Container, pod: Mapping[str, Any]) -> bool:
    return restarts(container, pod["spec"].get("restartPolicy", "Always"))


def _ended(ended: Ended) -> Object:
    result: Object = {"exitCode": ended.code, "reason": ended.reason}
    if not ended.reason:
        result["reason"] = "Completed" if ended.code == 0 else "Error"
    if ended.signal:
        result["signal"] = ended.signal
    if ended.message:
        result["message"] = ended.message
    result |= {"startedAt": ended.started or None, "finishedAt": ended.finished or None}
    if ended.id:
        result["containerID"] = container_id(ended.id)
    return result


def _conditions(
    pod: Mapping[str, Any],
    containers: Mapping[str, Container],
    current: str,
    *,
    init_done: bool,
    network: bool,
    now: str,
) -> Iterator[Object]:
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}

    def condition(kind: str, yes: bool, reason: str = "", message: str = "") -> Object:
        value = "True" if yes else "False"
        before = old.pop(kind, {})
        same = before.get("status") == value
        result: Object = {
            "type": kind,
            "status": value,
            "lastProbeTime": None,
            "lastTransitionTime": before.get("lastTransitionTime") or now if same else now,
        }
        if reason and (not yes or current == "Succeeded"):
            result["reason"] = reason
            if message:
                result["message"] = message
        return result

    mains = [c for c in containers.values() if not c.init or c.sidecar]
    unready = [c.name for c in mains if not c.ready]
    incomplete = [c.name for c in containers.values() if c.init and not c.done]
    reason, message = "", ""
    if current in ("Succeeded", "Failed"):
        reason = "PodCompleted" if current == "Succeeded" else "PodFailed"
    elif unready:
        reason = "ContainersNotReady"
        message = f"containers with unready status: [{' '.join(unready)}]"
    yield condition("PodReadyToStartContainers", network and current not in ("Succeeded", "Failed"))
    if current == "Succeeded" or init_done:
        yield condition("Initialized", True, "PodCompleted" if current == "Succeeded" else "")
    else:
        text = f"containers with incomplete status: [{' '.join(incomplete)}]"
        yield condition("Initialized", False, "ContainersNotInitialized", text)
    all_ready = current == "Running" and not unready
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates") or ()]
    open_gates = [g for g in gates if old.get(g, {}).get("status") == "True"]
    if all_ready and len(gates) != len(open_gates):
        text = f"corresponding condition of pod readiness gate {gates!r} is not true"
        yield condition("Ready", False, "ReadinessGatesNotReady", text)
    else:
        yield condition("Ready", all_ready, reason, message)
    yield condition("ContainersReady", all_ready, reason, message)
    yield condition("PodScheduled", True)
    yield from old.values()


def container_id(id: str) -> str:
    """Returns a run's id as the API shows it."""
    return "linkerd://" + hashlib.sha256(id.encode()).hexdigest()


def image_id(image: str) -> str:
    """Returns the id of an image of the table."""
    return f"{image}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"
