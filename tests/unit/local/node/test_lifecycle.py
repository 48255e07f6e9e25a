"""What a node does next with a pod's containers, and the status it reports. No processes."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.local.node import lifecycle
from linkerd.local.node.lifecycle import Container, Ended
from tests.unit.local.node.builders import a_container, a_pod

Object = dict[str, Any]
NOW = "2026-01-01T00:00:00Z"


def running(container: Container) -> None:
    lifecycle.begin(container)
    container.running_since = NOW
    container.started = container.ready = True
    container.id = "id"


def ended(container: Container, code: int, now: float = 0.0, ran_s: float = 1.0) -> None:
    if not container.begun:
        running(container)
    lifecycle.ran(container, Ended(code), now, ran_s)


def status_of(pod: Object, containers: dict[str, Container], mono: float = 0.0) -> Object:
    return lifecycle.status(
        pod, containers, now=NOW, mono=mono, ip="10.244.0.5", host_ip="10.244.0.1", network=True
    )


def condition(status: Object, kind: str) -> tuple[str, str | None]:
    found = next(c for c in status["conditions"] if c["type"] == kind)
    return found["status"], found.get("reason")


def test_all_containers_start_in_the_order_of_the_spec() -> None:
    pod = a_pod(a_container("b"), a_container("a"))
    assert ["b", "a"] == lifecycle.steps(pod, lifecycle.containers_of(pod), 0.0).start


def test_init_containers_start_one_after_another() -> None:
    pod = a_pod(init=[a_container("i1"), a_container("i2")])
    containers = lifecycle.containers_of(pod)
    assert ["i1"] == lifecycle.steps(pod, containers, 0.0).start
    running(containers["i1"])
    assert [] == lifecycle.steps(pod, containers, 0.0).start
    ended(containers["i1"], 0)
    assert ["i2"] == lifecycle.steps(pod, containers, 0.0).start
    ended(containers["i2"], 0)
    assert ["main"] == lifecycle.steps(pod, containers, 0.0).start


def test_a_sidecar_holds_up_the_others_until_it_has_started() -> None:
    pod = a_pod(init=[a_container("side", restartPolicy="Always")])
    containers = lifecycle.containers_of(pod)
    assert ["side"] == lifecycle.steps(pod, containers, 0.0).start
    running(containers["side"])
    containers["side"].started = False
    assert [] == lifecycle.steps(pod, containers, 0.0).start
    containers["side"].started = True
    assert ["main"] == lifecycle.steps(pod, containers, 0.0).start


def test_a_sidecar_that_ends_restarts_beside_the_others() -> None:
    pod = a_pod(init=[a_container("side", restartPolicy="Always")])
    containers = lifecycle.containers_of(pod)
    for container in containers.values():
        running(container)
    ended(containers["side"], 0)
    assert ["side"] == lifecycle.steps(pod, containers, 0.0).start


@pytest.mark.parametrize(
    ("policy", "code", "restarted", "phase"),
    [
        ("Always", 0, True, "Running"),
        ("Always", 1, True, "Running"),
        ("OnFailure", 0, False, "Succeeded"),
        ("OnFailure", 1, True, "Running"),
        ("Never", 0, False, "Succeeded"),
        ("Never", 1, False, "Failed"),
    ],
)
def test_restart_policy(policy: str, code: int, restarted: bool, phase: str) -> None:
    pod = a_pod(restartPolicy=policy)
    containers = lifecycle.containers_of(pod)
    ended(containers["main"], code)
    plan = lifecycle.steps(pod, containers, 0.0)
    assert (restarted, not restarted) == (plan.start == ["main"], plan.finished)
    assert phase == lifecycle.phase(pod, containers)


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    pod = a_pod(init=[a_container("i")], restartPolicy="Never")
    containers = lifecycle.containers_of(pod)
    ended(containers["i"], 1)
    assert lifecycle.steps(pod, containers, 0.0).finished
    assert "Failed" == lifecycle.phase(pod, containers)


def test_restarts_back_off_from_ten_seconds_to_five_minutes_and_forget_after_a_long_run() -> None:
    pod = a_pod()
    container = lifecycle.containers_of(pod)["main"]
    waits = []
    for _ in range(8):
        running(container)
        lifecycle.ran(container, Ended(1), 100.0, 1.0)
        waits.append(container.retry_at - 100.0)
    assert [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0] == waits
    running(container)
    lifecycle.ran(container, Ended(1), 100.0, 601.0)
    assert 100.0 == container.retry_at


def test_a_backed_off_container_is_shown_and_waited_for() -> None:
    pod = a_pod()
    containers = lifecycle.containers_of(pod)
    for _ in range(2):
        running(containers["main"])
        lifecycle.ran(containers["main"], Ended(3), 50.0, 1.0)
    plan = lifecycle.steps(pod, containers, 51.0)
    assert ([], 60.0) == (plan.start, plan.wake_at)
    entry = status_of(pod, containers, 51.0)["containerStatuses"][0]
    assert "CrashLoopBackOff" == entry["state"]["waiting"]["reason"]
    assert (
        "back-off 9s restarting failed container=main pod=web_shop(u1)"
        == entry["state"]["waiting"]["message"]
    )
    assert 3 == entry["lastState"]["terminated"]["exitCode"]


def test_sidecars_end_after_the_others_in_reverse_order() -> None:
    side = {"restartPolicy": "Always"}
    pod = a_pod(
        a_container("a"),
        a_container("b"),
        init=[a_container("s1", **side), a_container("s2", **side)],
    )
    containers = lifecycle.containers_of(pod)
    for container in containers.values():
        running(container)
    assert [["a", "b"], ["s2"], ["s1"]] == lifecycle.order_of_end(containers)


def test_status_of_a_pod_whose_init_container_runs() -> None:
    pod = a_pod(init=[a_container("i")])
    containers = lifecycle.containers_of(pod)
    running(containers["i"])
    status = status_of(pod, containers)
    assert "Pending" == status["phase"]
    assert {"waiting": {"reason": "PodInitializing"}} == status["containerStatuses"][0]["state"]
    assert ("False", "ContainersNotInitialized") == condition(status, "Initialized")
    assert ("False", "ContainersNotReady") == condition(status, "Ready")
    assert ("True", None) == condition(status, "PodScheduled")


def test_status_of_a_ready_pod() -> None:
    pod = a_pod()
    containers = lifecycle.containers_of(pod)
    running(containers["main"])
    status = status_of(pod, containers)
    assert ("Running", "10.244.0.5") == (status["phase"], status["podIP"])
    for kind in ("Initialized", "Ready", "ContainersReady", "PodReadyToStartContainers"):
        assert ("True", None) == condition(status, kind)


def test_status_of_a_completed_pod() -> None:
    pod = a_pod(restartPolicy="Never")
    containers = lifecycle.containers_of(pod)
    ended(containers["main"], 0)
    status = status_of(pod, containers)
    assert "Succeeded" == status["phase"]
    assert ("False", "PodCompleted") == condition(status, "Ready")
    assert "Completed" == status["containerStatuses"][0]["state"]["terminated"]["reason"]


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    pod = a_pod()
    old = {"type": "Ready", "status": "False", "lastTransitionTime": "2025-01-01T00:00:00Z"}
    pod["status"] = {"conditions": [old, {**old, "type": "PodScheduled", "status": "True"}]}
    containers = lifecycle.containers_of(pod)
    running(containers["main"])
    times = {c["type"]: c["lastTransitionTime"] for c in status_of(pod, containers)["conditions"]}
    assert (NOW, "2025-01-01T00:00:00Z") == (times["Ready"], times["PodScheduled"])


def test_a_readiness_gate_holds_the_pod_back_until_its_condition_is_true() -> None:
    pod = a_pod(readinessGates=[{"conditionType": "x.io/gate"}])
    containers = lifecycle.containers_of(pod)
    running(containers["main"])
    assert ("False", "ReadinessGatesNotReady") == condition(status_of(pod, containers), "Ready")
    pod["status"] = {"conditions": [{"type": "x.io/gate", "status": "True"}]}
    status = status_of(pod, containers)
    assert ("True", None) == condition(status, "Ready")
    assert ("True", None) == condition(status, "x.io/gate")


def test_what_keeps_a_container_from_starting_is_shown() -> None:
    pod = a_pod()
    containers = lifecycle.containers_of(pod)
    lifecycle.refused(containers["main"], "ErrImagePull", "not in the table", 5.0)
    assert 6.0 == lifecycle.steps(pod, containers, 5.5).wake_at
    state = status_of(pod, containers)["containerStatuses"][0]["state"]
    assert {"waiting": {"reason": "ErrImagePull", "message": "not in the table"}} == state
