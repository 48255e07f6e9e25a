"""The CNI plugin as a runtime calls it: a real API server, a real network namespace, real rules."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from linkerd.cli.local.images import proxy_binary
from tests.wire.local_server import LocalServer

PREVIOUS = {"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}]}
UNREDIRECTED = 95

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """An API server with one meshed pod and one without a proxy."""
    running = LocalServer(tmp_path_factory.mktemp("cni"))
    try:
        running.start()
        with running.client() as api:
            made = [
                api.post("/api/v1/namespaces", json=_object("Namespace", "shop")),
                _pod(api, "web", "linkerd-proxy"),
                _pod(api, "plain", "sidecar"),
            ]
        assert [201, 201, 201] == [response.status_code for response in made]
        yield running
    finally:
        running.stop()


def _object(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}


def _pod(api: Any, name: str, second: str) -> Any:
    address = {"name": "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR", "value": "127.0.0.1:4140"}
    containers = [
        {"name": "web", "image": "web:1"},
        {"name": second, "image": "proxy:1", "env": [address]},
    ]
    pod = {**_object("Pod", name), "spec": {"containers": containers}}
    return api.post("/api/v1/namespaces/shop/pods", json=pod)


@contextmanager
def _namespace(name: str) -> Iterator[str]:
    """Makes a namespace with a way out that leads nowhere."""
    commands = (
        f"ip netns add {name}",
        f"ip -n {name} link set lo up",
        f"ip -n {name} link add eth0 type veth peer name eth1",
        f"ip -n {name} address add 10.9.0.2/24 dev eth0",
        f"ip -n {name} link set eth0 up",
        f"ip -n {name} link set eth1 up",
        f"ip -n {name} route add default dev eth0",
    )
    try:
        for command in commands:
            subprocess.run(command.split(), check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


def _plugin(
    server: LocalServer, folder: Path, command: str, pod: str, namespace: str, token: str = ""
) -> subprocess.CompletedProcess[str]:
    program = folder / "linkerd-cni"
    if not program.exists():
        program.symlink_to(proxy_binary())
    cluster = {
        "server": f"https://127.0.0.1:{server.port}",
        "certificate-authority": str(server.paths.ca_cert),
    }
    user = {"token": token or server.paths.token("admin").read_text()}
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        json.dumps({"clusters": [{"cluster": cluster}], "users": [{"user": user}]})
    )
    conf = {
        "cniVersion": "1.0.0",
        "name": "linkerd-cni",
        "type": "linkerd-cni",
        "prevResult": PREVIOUS,
        "log_level": "error",
        "kubernetes": {"kubeconfig": str(kubeconfig)},
        "linkerd": {"incoming-proxy-port": 4143, "outgoing-proxy-port": 4140},
    }
    return subprocess.run(
        [program],
        input=json.dumps(conf),
        env={
            "CNI_COMMAND": command,
            "CNI_NETNS": f"/run/netns/{namespace}",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod}",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _validate(namespace: str) -> int:
    validator = [proxy_binary(), "validate", "--timeout", "1s"]
    command = ["ip", "netns", "exec", namespace, *validator]
    return subprocess.run(command, timeout=60, check=False).returncode


def test_a_meshed_pod_is_redirected_and_the_validator_proves_it(
    server: LocalServer, tmp_path: Path
) -> None:
    with _namespace(f"cni-web-{os.getpid()}") as namespace:
        assert _validate(namespace) == UNREDIRECTED
        unchecked = _plugin(server, tmp_path, "CHECK", "web", namespace)
        assert unchecked.returncode == 1
        assert "has no redirect rules to port 4140" in json.loads(unchecked.stdout)["details"]

        added = _plugin(server, tmp_path, "ADD", "web", namespace)
        assert (0, PREVIOUS) == (added.returncode, json.loads(added.stdout)), added.stderr
        assert _validate(namespace) == 0
        assert _plugin(server, tmp_path, "CHECK", "web", namespace).returncode == 0
        assert _plugin(server, tmp_path, "DEL", "web", namespace).returncode == 0


def test_a_pod_without_proxy_is_left_alone(server: LocalServer, tmp_path: Path) -> None:
    with _namespace(f"cni-plain-{os.getpid()}") as namespace:
        added = _plugin(server, tmp_path, "ADD", "plain", namespace)
        assert (0, PREVIOUS) == (added.returncode, json.loads(added.stdout)), added.stderr
        assert _validate(namespace) == UNREDIRECTED


@pytest.mark.parametrize(
    ("pod", "token", "expected"),
    [("gone", "", "404: "), ("web", "nobody", "401: ")],
    ids=["no such pod", "no permission"],
)
def test_what_cannot_be_decided_fails_with_the_reason(
    server: LocalServer, tmp_path: Path, pod: str, token: str, expected: str
) -> None:
    with _namespace(f"cni-bad-{os.getpid()}") as namespace:
        failed = _plugin(server, tmp_path, "ADD", pod, namespace, token)
        error = json.loads(failed.stdout)
        assert (1, 100) == (failed.returncode, error["code"])
        assert f"/api/v1/namespaces/shop/pods/{pod}: {expected}" in error["details"]
