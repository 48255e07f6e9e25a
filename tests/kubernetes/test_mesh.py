"""The mesh on a real Kubernetes: the tests of `linkerd local` that ask nothing of its inside.

They are the same functions; only the fixture differs. What only a real node has comes last: a route
of the mesh's own kind, and components that are killed.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.integration.mesh import (
    Object,
    a_deployment,
    a_namespace,
    a_service,
    an_account,
    until,
)
from tests.integration.test_mesh import (  # noqa: F401 - collected here once more
    OPEN_CLIENT,
    PLAIN_SERVER,
    SERVER,
    _answers,
    _get,
    _listening,
    _workloads,
    test_a_meshed_client_is_known_to_a_meshed_server,
    test_a_policy_denies_within_two_seconds_and_its_end_readmits,
    test_a_server_that_speaks_first_passes_on_an_opaque_port,
    test_bytes_between_meshed_pods_are_tls,
    test_checks_pass,
    test_control_plane_pods_have_the_containers_users_know,
    test_diagnostics_show_endpoints_and_metrics,
    test_meshed_and_unmeshed_pods_reach_each_other,
    test_plain_tcp_passes,
)
from tests.integration.test_traffic_policies import (  # noqa: F401 - collected here once more
    test_a_rate_limit_turns_away_what_is_too_much,
    test_a_request_that_takes_too_long_is_given_up,
    test_a_service_profile_retries_what_fails,
    test_paths_are_admitted_one_by_one,
    test_traffic_out_of_the_cluster_may_be_denied,
    workloads,
)
from tests.kubernetes.mesh import KubernetesMesh

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesMesh]:
    mesh = KubernetesMesh(tmp_path_factory.mktemp("mesh"), "test-mesh")
    try:
        mesh.start()
        mesh.install()
        mesh.apply_objects(a_namespace("lab"), *_workloads(), *workloads(), *_flaky())
        mesh.wait("lab")
        until(lambda: _listening(mesh), "the programs listen", timeout_s=60)
        yield mesh
    finally:
        mesh.delete()


def _flaky() -> list[Object]:
    """A service that fails every second time."""
    return [
        an_account("flaky"),
        a_deployment("flaky", "flaky", "hello", "8080", port=8080),
        a_service("flaky", 80, 8080),
    ]


def _route(name: str, service: str, *backends: str, **annotations: str) -> Object:
    """Sends what asks `service` to `backends`, the same share to each."""
    refs = [{"name": one, "port": 80, "weight": 1} for one in backends]
    notes = {key.replace("_", ".linkerd.io/"): value for key, value in annotations.items()}
    return {
        "apiVersion": "policy.linkerd.io/v1beta3",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "lab", "annotations": notes},
        "spec": {
            "parentRefs": [{"group": "core", "kind": "Service", "name": service, "port": 80}],
            "rules": [{"backendRefs": refs}],
        },
    }


def _split() -> Object:
    return _route("split", SERVER, SERVER, PLAIN_SERVER)


def test_a_route_retries_what_fails(mesh: KubernetesMesh) -> None:
    def statuses() -> set[int]:
        return {_get(mesh, OPEN_CLIENT, "flaky")[0] for _ in range(6)}

    assert {200, 503} == statuses()
    mesh.apply_objects(_route("retry", "flaky", "flaky", retry_http="5xx", retry_limit="2"))
    try:
        until(lambda: statuses() == {200}, "every request succeeds")
    finally:
        mesh.kubectl("delete", "httproutes.policy.linkerd.io/retry", "-n", "lab")


def test_a_route_splits_traffic_and_its_end_does_not(mesh: KubernetesMesh) -> None:
    def answers() -> set[str]:
        return {_get(mesh, OPEN_CLIENT, SERVER)[1].split()[0] for _ in range(12)}

    mesh.apply_objects(_split())
    try:
        until(lambda: answers() == {"hello", "plain"}, "both are reached")
        (parent,) = _parents(mesh)
        assert {"Accepted": "True", "ResolvedRefs": "True"} == {
            one["type"]: one["status"] for one in parent["conditions"]
        }
    finally:
        mesh.kubectl("delete", "httproutes.policy.linkerd.io/split", "-n", "lab")
    until(lambda: answers() == {"hello"}, "only the server is reached")


def _parents(mesh: KubernetesMesh) -> list[Object]:
    route = "httproutes.policy.linkerd.io/split"
    text = mesh.kubectl("get", route, "-n", "lab", "-o", "jsonpath={.status.parents}")
    found: list[Object] = json.loads(text)
    return found


@pytest.mark.parametrize(
    "process", ["kube-apiserver", "etcd", "kube-controller-manager", "kubelet", "containerd"]
)
def test_a_killed_component_comes_back_and_traffic_goes_on(
    mesh: KubernetesMesh, process: str
) -> None:
    before = mesh.pid(process)
    assert before
    os.kill(before, signal.SIGKILL)
    until(lambda: mesh.pid(process) not in (0, before), f"{process} is back", timeout_s=30)
    until(lambda: _answers(mesh), "the API answers again", timeout_s=60)
    # What the mesh watches is watched again: a change gets through.
    mesh.apply_objects(_split())
    until(lambda: _get(mesh, OPEN_CLIENT, SERVER)[1].startswith("plain"), "the change is seen")
    mesh.kubectl("delete", "httproutes.policy.linkerd.io/split", "-n", "lab")
