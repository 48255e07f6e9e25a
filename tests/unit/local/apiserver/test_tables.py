"""Tables: cells of pods in all their states, ages, JSON paths of custom columns."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.local.apiserver import humane, tables
from linkerd.local.apiserver.columns import pod_phase, selector_text
from linkerd.local.store import Obj
from tests.unit.local.apiserver.builders import a_pod_spec, a_widget_kind, an_object, kind

NOW = 1_800_000_000.0


def cells(kind_name: str, obj: Obj) -> dict[str, Any]:
    found = kind(kind_name)
    table = tables.render(found, [obj], {}, "None", NOW, head=True)
    names = [column["name"] for column in table["columnDefinitions"]]
    return dict(zip(names, table["rows"][0]["cells"], strict=True))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (130, "2m10s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 300, "3h5m"),
        (9 * 3600, "9h"),
        (49 * 3600, "2d1h"),
        (8 * 86400, "8d"),
        (800 * 86400, "2y70d"),
    ],
)
def test_durations_get_coarser(seconds: float, text: str) -> None:
    assert text == humane.duration(seconds)


def test_age_counts_from_creation() -> None:
    assert "<unknown>" == humane.age(None, NOW)
    assert "5m" == humane.age("2027-01-15T07:55:00Z", NOW)


def running(name: str, **more: Any) -> Obj:
    return {"name": name, "ready": True, "state": {"running": {}}, "restartCount": 0, **more}


def waiting(name: str, reason: str) -> Obj:
    return {"name": name, "ready": False, "state": {"waiting": {"reason": reason}}}


def exited(name: str, code: int, reason: str = "") -> Obj:
    terminated = {"exitCode": code, **({"reason": reason} if reason else {})}
    return {"name": name, "ready": False, "state": {"terminated": terminated}}


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Running", "containerStatuses": [running("app")]}, "Running"),
        ({"phase": "Running", "containerStatuses": [waiting("app", "CrashLoopBackOff")]}, "CrashLoopBackOff"),
        ({"phase": "Succeeded", "containerStatuses": [exited("app", 0, "Completed")]}, "Completed"),
        ({"phase": "Failed", "containerStatuses": [exited("app", 3)]}, "ExitCode:3"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Pending", "initContainerStatuses": [waiting("init", "PodInitializing")]}, "Init:0/1"),
        ({"phase": "Pending", "initContainerStatuses": [exited("init", 1, "Error")]}, "Init:Error"),
        ({"phase": "Pending", "initContainerStatuses": [waiting("init", "CrashLoopBackOff")]}, "Init:CrashLoopBackOff"),
        (
            {
                "phase": "Running",
                "initContainerStatuses": [exited("init", 0)],
                "containerStatuses": [running("app")],
            },
            "Running",
        ),
    ],
)  # fmt: skip
def test_status_column_of_pods(status: Obj, text: str) -> None:
    spec = a_pod_spec("app", initContainers=[{"name": "init"}])
    assert text == pod_phase(an_object("Pod", "p", spec=spec, status=status))


def test_deleted_pods_are_terminating() -> None:
    pod = an_object("Pod", "p", spec=a_pod_spec(), status={"phase": "Running"})
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert "Terminating" == pod_phase(pod)


def test_ready_column_counts_sidecars() -> None:
    spec = a_pod_spec("app", initContainers=[{"name": "proxy", "restartPolicy": "Always"}])
    status = {
        "phase": "Running",
        "containerStatuses": [running("app")],
        "initContainerStatuses": [running("proxy", started=True)],
    }
    row = cells("Pod", an_object("Pod", "p", spec=spec, status=status))
    assert ("2/2", "Running") == (row["Ready"], row["Status"])


def test_restarts_say_when_the_last_was() -> None:
    last = {"terminated": {"finishedAt": "2027-01-15T07:59:00Z"}}
    status = {"containerStatuses": [running("app", restartCount=3) | {"lastState": last}]}
    row = cells("Pod", an_object("Pod", "p", spec=a_pod_spec(), status=status))
    assert "3 (60s ago)" == row["Restarts"]


def test_service_columns() -> None:
    spec = {
        "type": "NodePort",
        "clusterIP": "10.96.1.1",
        "ports": [
            {"port": 80, "nodePort": 30080, "protocol": "TCP"},
            {"port": 53, "protocol": "UDP"},
        ],
    }
    row = cells("Service", an_object("Service", "s", spec=spec))
    assert ("NodePort", "10.96.1.1", "<none>", "80:30080/TCP,53/UDP") == (
        row["Type"],
        row["Cluster-IP"],
        row["External-IP"],
        row["Port(s)"],
    )


def test_deployment_columns() -> None:
    status = {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}
    row = cells("Deployment", an_object("Deployment", "d", spec={"replicas": 3}, status=status))
    assert ("1/3", 2, 1) == (row["Ready"], row["Up-to-date"], row["Available"])


def test_malformed_objects_do_not_hide_others() -> None:
    row = cells("Pod", an_object("Pod", "p", spec=[], status="x"))
    assert "<invalid>" == row["Status"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.size", [3]),
        ("{.spec.size}", [3]),
        (".spec.list[*].name", ["a", "b"]),
        (".spec.list[1].name", ["b"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".metadata.annotations['a.b/c']", ["d"]),
        (".metadata.annotations.a\\.b/c", []),
        (".missing.path", []),
    ],
)
def test_json_paths_of_columns(path: str, expected: list[Any]) -> None:
    obj = {
        "metadata": {"annotations": {"a.b/c": "d"}},
        "spec": {"size": 3, "list": [{"name": "a"}, {"name": "b"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert expected == humane.at_path(obj, path)


def test_custom_columns_and_their_default() -> None:
    declared = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1}]
    shown = tables.columns(a_widget_kind({}, additionalPrinterColumns=declared))
    assert [("Name", False), ("Size", True)] == [(c.name, c.wide) for c in shown]
    assert ["Name", "Age"] == [column.name for column in tables.columns(a_widget_kind({}))]


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        (None, "<none>"),
        ({"app": "web"}, "app=web"),
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x"]}]}, "a in (x)"),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, "!a"),
    ],
)
def test_selectors_as_text(selector: Obj | None, text: str) -> None:
    assert text == selector_text(selector)
