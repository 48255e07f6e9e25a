"""Which pods are injected, by the webhook and by the CLI; the truth table of annotations."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.inject import verdict
from tests.unit.inject.workloads import a_container

KEY = "linkerd.io/inject"


def _facts(
    pod: str = "", namespace: str = "", *, spec: dict[str, Any] | None = None, **options: bool
) -> verdict.Facts:
    return verdict.facts(
        spec or {"containers": [a_container()]},
        {KEY: pod} if pod else {},
        {KEY: namespace} if namespace else {},
        token_projection=options.get("token_projection", True),
        webhook=options.get("webhook", True),
    )


@pytest.mark.parametrize(
    ("namespace", "pod", "expected"),
    [
        ("enabled", "", []),
        ("enabled", "enabled", []),
        ("ingress", "ingress", []),
        ("enabled", "disabled", ["injection_disable_annotation_present"]),
        ("", "enabled", []),
        ("disabled", "ingress", []),
        ("", "", ["injection_enable_annotation_absent"]),
        ("disabled", "", ["injection_enable_annotation_absent"]),
        ("", "disabled", ["injection_disable_annotation_present"]),
        ("yes", "enabled", ["invalid_inject_annotation_at_ns"]),
        ("enabled", "yes", ["invalid_inject_annotation_at_workload"]),
    ],
)
def test_annotations_decide(namespace: str, pod: str, expected: list[str]) -> None:
    """Source: linkerd2 pkg/inject/report.go."""
    assert expected == _facts(pod, namespace).reasons


def test_the_cli_injects_what_is_not_disabled() -> None:
    assert _facts("", "", webhook=False).injectable
    assert not _facts("disabled", "enabled", webhook=False).injectable


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hostNetwork": True, "containers": [a_container()]}, "host_network_enabled"),
        ({"containers": [a_container("linkerd-proxy")]}, "sidecar_already_exists"),
        ({"containers": [a_container("istio-proxy")]}, "sidecar_already_exists"),
        (
            {"containers": [{"name": "p", "image": "cr.l5d.io/linkerd/proxy:v1"}]},
            "sidecar_already_exists",
        ),
        (
            {"initContainers": [a_container("linkerd-init")], "containers": []},
            "sidecar_already_exists",
        ),
        (
            {"initContainers": [a_container("linkerd-proxy")], "containers": []},
            "sidecar_already_exists",
        ),
    ],
)
def test_specs_that_cannot_be_injected(spec: dict[str, Any], expected: str) -> None:
    assert [expected] == _facts("enabled", spec=spec).reasons


def test_a_token_is_needed_only_without_projection() -> None:
    spec = {"automountServiceAccountToken": False, "containers": [a_container()]}
    expected = ["disabled_automount_service_account_token_account"]
    assert [] == _facts("enabled", spec=spec).reasons
    assert expected == _facts("enabled", spec=spec, token_projection=False).reasons


def test_udp_ports_are_told_but_do_not_prevent() -> None:
    udp = {"name": "dns", "ports": [{"containerPort": 53, "protocol": "UDP"}]}
    found = _facts("enabled", spec={"containers": [udp]})
    assert found.udp and found.injectable


def test_reasons_are_joined_for_people() -> None:
    spec = {"hostNetwork": True, "containers": [a_container("linkerd-proxy")]}
    expected = "hostNetwork is enabled, pod has a sidecar injected already"
    assert expected == verdict.text(_facts("enabled", spec=spec).reasons)
