"""What runs goes on without the control plane, and nothing stale is left when it is back (R07, R17).

The whole control plane goes, or the injector alone; pods come and go meanwhile. What daemons do when
the API goes is in `tests/wire/test_recovery.py`, what proxies do in the scorecard's R07.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator

import pytest

from linkerd.kube.client import JSON
from linkerd.kube.resources import MUTATING_WEBHOOKS, PODS
from tests.integration.mesh import (
    Mesh,
    Object,
    a_deployment,
    a_namespace,
    a_service,
    an_account,
    ready_containers,
    until,
)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the cluster makes namespaces as root"),
    pytest.mark.timeout(300),
]

CLIENT, SERVER = "outage-client", "outage-server"
REPLICAS = 3
INJECTOR = "linkerd-proxy-injector"
APPLY = ("local", "apply", "-f", "-")
ALL = ("linkerd-destination", "linkerd-identity", INJECTOR)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("mesh"))
    try:
        mesh.start()
        mesh.install()
        mesh.apply_objects(a_namespace("lab"), *workloads())
        mesh.wait("lab")
        until(lambda: statuses(mesh, 3) == {200: 3}, "it listens")
        yield mesh
    finally:
        mesh.delete()


def workloads() -> list[Object]:
    """Returns a server of some replicas and its client."""
    server = a_deployment(SERVER, "http", "hello", "8080", port=8080)
    server["spec"]["replicas"] = REPLICAS
    return [
        *(an_account(name) for name in (CLIENT, SERVER)),
        a_deployment(CLIENT, "idle"),
        server,
        a_service(SERVER, 80, 8080),
    ]


def statuses(mesh: Mesh, times: int) -> Counter[int]:
    """Returns how often each status came, of requests one after the other; 0 is no answer."""
    words = ["-w", "%{http_code}\n", *(["-o", "/dev/null"] * times)]
    command = ["curl", "-s", "-m", "8", *words, *([f"http://{SERVER}"] * times)]
    done = mesh.run_in(mesh.pod("lab", CLIENT), "lab", *command, container=CLIENT)
    return Counter(int(line) for line in done.stdout.decode().split())


def scale(mesh: Mesh, replicas: int, *names: str) -> None:
    """Has deployments of the control plane run so many pods, and waits for it."""
    for name in names:
        words = ("scale", f"deploy/{name}", f"--replicas={replicas}", "-n", "linkerd")
        mesh.linkerd("local", "kubectl", *words)
    if replicas:
        mesh.wait("linkerd")
        return
    components = {name.removeprefix("linkerd-") for name in names}

    def gone() -> bool:
        found: list[Object] = mesh.do(lambda kube: kube.list(PODS, "linkerd"))
        key = "linkerd.io/control-plane-component"
        return not components & {pod["metadata"]["labels"].get(key) for pod in found}

    until(gone, "the pods are gone")


def servers(mesh: Mesh) -> set[str]:
    """Returns the names of the server's pods."""
    return {pod["metadata"]["name"] for pod in mesh.pods("lab", f"app={SERVER}")}


def replace(mesh: Mesh, count: int) -> set[str]:
    """Has some of the server's pods replaced; returns the new ones' names."""
    before = servers(mesh)
    mesh.linkerd("local", "kubectl", "delete", "pod", "-n", "lab", *sorted(before)[:count])
    until(lambda: len(servers(mesh) - before) == count, "they are replaced")
    mesh.wait("lab")
    return servers(mesh) - before


def asked(mesh: Mesh) -> set[str]:
    """Returns the pods that the client's proxy has sent requests to."""
    page = mesh.linkerd("diagnostics", "proxy-metrics", "-n", "lab", f"deploy/{CLIENT}")
    lines = [line for line in page.splitlines() if line.startswith("request_total{")]
    return {
        label.removeprefix('dst_pod="').rstrip('"')
        for line in lines
        for label in line.partition("{")[2].rpartition("}")[0].split(",")
        if label.startswith('dst_pod="')
    }


def test_pods_that_run_go_on_without_a_control_plane(mesh: Mesh) -> None:
    assert {200: 20} == statuses(mesh, 20)
    scale(mesh, 0, *ALL)
    assert {200: 200} == statuses(mesh, 200)
    # Nobody can tell of these, so the one that is left answers.
    new = replace(mesh, REPLICAS - 1)
    until(lambda: statuses(mesh, 60) == {200: 60}, "those that are gone are left out")
    scale(mesh, 1, *ALL)

    def known() -> bool:
        assert {200: 20} == statuses(mesh, 20)
        return new <= asked(mesh)

    until(known, "the new pods get requests")
    replace(mesh, REPLICAS)
    until(lambda: statuses(mesh, 20) == {200: 20}, "no request goes to the one that is gone")


def test_without_an_injector_pods_come_unmeshed_or_not_at_all_as_is_asked(mesh: Mesh) -> None:
    scale(mesh, 0, INJECTOR)
    (unmeshed,) = replace(mesh, 1)
    assert "1/1" == containers(mesh, unmeshed)
    set_failure_policy(mesh, "Fail")
    try:
        assert f"{INJECTOR}.linkerd.io" in mesh.refused(*APPLY, stdin=json.dumps(a_pod("lab")))
        # What the mesh needs to come back is never held up by it.
        with mesh.having(a_pod("kube-system")):
            scale(mesh, 1, INJECTOR)
        with mesh.having(a_pod("lab")):
            until(lambda: "2/2" == containers(mesh, "late"), "it is meshed")
    finally:
        set_failure_policy(mesh, "Ignore")


def a_pod(namespace: str) -> Object:
    """A pod that asks for injection."""
    metadata = {"name": "late", "namespace": namespace}
    container = {"name": "late", "image": "lab/programs", "args": ["idle"]}
    container["imagePullPolicy"] = "IfNotPresent"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "annotations": {"linkerd.io/inject": "enabled"}},
        "spec": {"containers": [container]},
    }


def containers(mesh: Mesh, name: str) -> str:
    pod: Object = mesh.do(lambda kube: kube.get(PODS, name, "lab"))
    return ready_containers(pod)


def set_failure_policy(mesh: Mesh, policy: str) -> None:
    change = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": policy}]
    name = f"{INJECTOR}-webhook-config"
    mesh.do(lambda kube: kube.patch(MUTATING_WEBHOOKS, name, change, type=JSON))
