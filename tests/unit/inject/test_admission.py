"""The webhook's decision on pods and services; not its edges."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.inject import admission, jsonpatch, pod
from tests.unit.inject.workloads import a_container, a_pod, cluster_config

OPAQUE = "config.linkerd.io/opaque-ports"


def _decide(document: dict[str, Any], **namespace: str) -> admission.Decision:
    return admission.decide_pod(
        document,
        cluster_config(),
        namespace="emojivoto",
        namespace_annotations={key.replace("__", "/"): value for key, value in namespace.items()},
        owner=pod.Owner("Deployment", "web"),
        created_by="linkerd/proxy-injector test",
    )


def test_an_enabled_pod_is_injected() -> None:
    decision = _decide(a_pod(), **{"linkerd.io__inject": "enabled"})
    assert decision.injected and "namespace" == decision.annotated_at
    assert ("Injected", "Linkerd sidecar proxy injected") == decision.event


def test_a_skipped_pod_says_why() -> None:
    decision = _decide(a_pod(hostNetwork=True), **{"linkerd.io__inject": "enabled"})
    assert not decision.patch and ("host_network_enabled",) == decision.skipped
    expected = "Linkerd sidecar proxy injection skipped: hostNetwork is enabled"
    assert ("InjectionSkipped", expected) == decision.event


def test_a_skipped_pod_still_learns_its_opaque_ports() -> None:
    document = a_pod(a_container("db", 3306))
    decision = _decide(document)
    result = jsonpatch.apply(document, decision.patch)
    assert {OPAQUE: "3306"} == result["metadata"]["annotations"]


def test_an_injected_pod_is_not_injected_again() -> None:
    document = a_pod(annotations={"linkerd.io/inject": "enabled"})
    once = jsonpatch.apply(document, _decide(document).patch)
    assert ("sidecar_already_exists",) == _decide(once).skipped


@pytest.mark.parametrize(
    ("ports", "namespace", "expected"),
    [
        ([{"port": 3306}], {}, "3306"),
        ([{"port": 80, "targetPort": 6379}], {}, "80"),
        ([{"port": 3306, "targetPort": 8080}], {}, None),
        ([{"port": 3306, "targetPort": "sql"}], {}, None),
        ([{"port": 80}], {OPAQUE: "80"}, "80"),
        ([{"port": 80}], {}, None),
    ],
)
def test_a_service_learns_its_opaque_ports(
    ports: list[dict[str, Any]], namespace: dict[str, str], expected: str | None
) -> None:
    service = {"kind": "Service", "metadata": {"name": "db"}, "spec": {"ports": ports}}
    decision = admission.decide_service(service, cluster_config(), namespace_annotations=namespace)
    result = jsonpatch.apply(service, decision.patch)
    assert expected == result["metadata"].get("annotations", {}).get(OPAQUE)


def test_a_service_that_says_so_itself_is_left_alone() -> None:
    service = {"metadata": {"annotations": {OPAQUE: ""}}, "spec": {"ports": [{"port": 3306}]}}
    decision = admission.decide_service(service, cluster_config(), namespace_annotations={})
    assert [] == decision.patch
