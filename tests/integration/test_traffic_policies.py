"""What a user writes about traffic, and what a client then sees: limits, egress, retries, time, paths.

Each test writes objects, asks through real proxies until the change shows, takes the objects back and
sees the old behaviour return. Who may ask whom is in `test_mesh.py`; splits and gRPC are the Gateway
API's conformance tests' part.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.integration.mesh import (
    Mesh,
    Object,
    a_deployment,
    a_namespace,
    a_service,
    an_account,
    until,
)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the cluster makes namespaces as root"),
    pytest.mark.timeout(240),
]

CLIENT, SERVER, FLAKY, SLOW = "policy-client", "policy-server", "policy-flaky", "policy-slow"
# RFC 5737: nobody's.
OUTSIDE = "203.0.113.10"
POLICY = "policy.linkerd.io"


def workloads() -> list[Object]:
    """Returns what the tests need in namespace `lab`."""
    servers = {SERVER: "http", FLAKY: "flaky", SLOW: "slow"}
    return [
        *(an_account(name) for name in (CLIENT, *servers)),
        a_deployment(CLIENT, "idle"),
        *(a_deployment(name, kind, "hello", "8080", port=8080) for name, kind in servers.items()),
        *(a_service(name, 80, 8080) for name in servers),
    ]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("mesh"))
    try:
        mesh.start()
        mesh.install()
        mesh.apply_objects(a_namespace("lab"), *workloads())
        mesh.wait("lab")
        until(lambda: statuses(mesh, SERVER, times=1) == {200: 1}, "it listens", timeout_s=60)
        yield mesh
    finally:
        mesh.delete()


def statuses(mesh: Mesh, target: str, *, times: int = 4) -> Counter[int]:
    """Returns how often each status came, of requests one after the other; 0 is no answer."""
    urls = [f"http://{target}"] * times
    discard = ["-o", "/dev/null"] * times
    command = ["curl", "-s", "-m", "8", "-w", "%{http_code}\n", *discard, *urls]
    done = mesh.run_in(mesh.pod("lab", CLIENT), "lab", *command, container=CLIENT)
    return Counter(int(line) for line in done.stdout.decode().split())


def an_object(kind: str, version: str, name: str, **spec: object) -> Object:
    return {
        "apiVersion": f"{POLICY}/{version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": "lab"},
        "spec": spec,
    }


def a_server(app: str, **more: object) -> Object:
    """Claims the port of an app for HTTP/1; whoever asks is admitted unless told otherwise."""
    spec = {"accessPolicy": "all-unauthenticated", **more}
    selector = {"matchLabels": {"app": app}}
    return an_object(
        "Server", "v1beta3", app, podSelector=selector, port=8080, proxyProtocol="HTTP/1", **spec
    )


def to_server(app: str) -> dict[str, str]:
    return {"group": POLICY, "kind": "Server", "name": app}


def test_a_rate_limit_turns_away_what_is_too_much(mesh: Mesh) -> None:
    limit = an_object(
        "HTTPLocalRateLimitPolicy",
        "v1alpha1",
        "limit",
        targetRef=to_server(SERVER),
        total={"requestsPerSecond": 2},
    )

    def limited() -> bool:
        found = statuses(mesh, SERVER, times=20)
        return found[429] > 0 and found[200] > 0 and found.total() == found[429] + found[200]

    with mesh.having(a_server(SERVER), limit):
        until(limited, "some are turned away")
    until(lambda: statuses(mesh, SERVER, times=20) == {200: 20}, "all are served again")


def test_traffic_out_of_the_cluster_may_be_denied(mesh: Mesh) -> None:
    network = an_object(
        "EgressNetwork",
        "v1alpha1",
        "outside",
        networks=[{"cidr": f"{OUTSIDE}/32"}],
        trafficPolicy="Deny",
    )
    assert statuses(mesh, OUTSIDE, times=1)[403] == 0
    with mesh.having(network):
        until(lambda: statuses(mesh, OUTSIDE, times=1) == {403: 1}, "it is denied", timeout_s=60)


def test_a_service_profile_retries_what_fails(mesh: Mesh) -> None:
    route = {
        "name": "GET /",
        "condition": {"method": "GET", "pathRegex": "/"},
        "isRetryable": True,
    }
    profile = {
        "apiVersion": "linkerd.io/v1alpha2",
        "kind": "ServiceProfile",
        "metadata": {"name": f"{FLAKY}.lab.svc.cluster.local", "namespace": "lab"},
        "spec": {"routes": [route]},
    }
    assert {200, 503} == set(statuses(mesh, FLAKY))
    with mesh.having(profile):
        until(lambda: set(statuses(mesh, FLAKY, times=8)) == {200}, "every request succeeds")
    until(lambda: set(statuses(mesh, FLAKY)) == {200, 503}, "failures show again")


def test_a_request_that_takes_too_long_is_given_up(mesh: Mesh) -> None:
    note = {"timeout.linkerd.io/request": "300ms"}
    assert {200: 1} == statuses(mesh, SLOW, times=1)
    mesh.apply_objects(a_service(SLOW, 80, 8080, annotations=note))
    until(lambda: statuses(mesh, SLOW, times=1) == {504: 1}, "the time is over")
    mesh.apply_objects(a_service(SLOW, 80, 8080))
    until(lambda: statuses(mesh, SLOW, times=1) == {200: 1}, "it is waited for again")


def test_paths_are_admitted_one_by_one(mesh: Mesh) -> None:
    """An inbound route replaces the default ones: what it does not name is not found."""
    route = an_object(
        "HTTPRoute",
        "v1beta3",
        "open",
        parentRefs=[to_server(SERVER)],
        rules=[{"matches": [{"path": {"type": "Exact", "value": "/open"}}]}],
    )
    everybody = an_object(
        "AuthorizationPolicy",
        "v1alpha1",
        "everybody",
        targetRef={"group": POLICY, "kind": "HTTPRoute", "name": "open"},
        requiredAuthenticationRefs=[{"kind": "ServiceAccount", "name": CLIENT, "namespace": "lab"}],
    )

    def seen() -> tuple[set[int], set[int]]:
        return set(statuses(mesh, f"{SERVER}/open")), set(statuses(mesh, f"{SERVER}/else"))

    with mesh.having(a_server(SERVER, accessPolicy="deny"), route, everybody):
        until(lambda: seen() == ({200}, {404}), "only one path is open")
    until(lambda: seen() == ({200}, {200}), "every path is open again")
