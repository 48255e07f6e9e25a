"""Pods on `linkerd local`: run, reached by service, logged, entered, killed and recovered.

Uses a real cluster (namespaces, NAT, DNS) and our own client; needs root, as the cluster does.
What kubectl prints is covered elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import pty
import select
import shutil
import signal
import sys
import termios
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linkerd.errors import LocalError
from linkerd.kube.client import MERGE, KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SERVICES,
    STATEFUL_SETS,
)
from linkerd.kube.streams import execute, logs, port_forward
from linkerd.local import supervisor
from linkerd.local.paths import HOST_NAME, Paths

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the cluster makes namespaces as root"),
    pytest.mark.timeout(120),
]

by_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

Object = dict[str, Any]
_IMAGES = {
    "web": {"entrypoint": [sys.executable, "-m", "http.server"], "cmd": ["80"]},
    "shell": {"entrypoint": [], "cmd": ["/bin/sh"]},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    paths = Paths(tmp_path_factory.mktemp("local") / "pods")
    supervisor.start(paths, _IMAGES, None, lambda _: None)
    try:
        yield paths
    finally:
        supervisor.delete(paths)


@pytest.fixture
async def kube(cluster: Paths) -> AsyncIterator[KubeClient]:
    async with KubeClient(load(cluster.kubeconfig)) as client:
        yield client


def a_pod(name: str, *command: str, image: str = "shell", **spec: Any) -> Object:
    container: Object = {"name": "main", "image": image, **spec.pop("container", {})}
    if command:
        container["command"] = list(command)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }


async def until(
    kube: KubeClient, name: str, holds: Callable[[Object], bool], timeout_s: float = 60.0
) -> Object:
    """Returns the pod once `holds` is true of it."""
    seen: Object = {}
    try:
        async with asyncio.timeout(timeout_s):
            async for event in kube.watch(PODS, "default", field_selector=f"metadata.name={name}"):
                found = getattr(event, "objects", None)
                for seen in [event.object] if found is None else found:  # type: ignore[union-attr]
                    if holds(seen):
                        return seen
    except TimeoutError:
        raise AssertionError(f"pod {name} did not get there: {seen.get('status')}") from None
    raise AssertionError("the watch ended")


def ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def eventually(check: Callable[[], Awaitable[bool]], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await check():  # noqa: ASYNC110 (the API has no event for it)
            await asyncio.sleep(0.05)


async def a_web_service(kube: KubeClient, name: str, replicas: int = 2) -> None:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "web",
                    "image": "web",
                    "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1},
                }
            ],
        },
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    await kube.create(DEPLOYMENTS, body, "default")
    service = {"selector": labels, "ports": [{"port": 80}]}
    meta = {"name": name}
    await kube.create(
        SERVICES,
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
        "default",
    )

    async def available() -> bool:
        status = (await kube.get(DEPLOYMENTS, name, "default")).get("status") or {}
        return bool(status.get("availableReplicas") == replicas)

    await eventually(available)


def curl(url: str) -> list[str]:
    return ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url]


async def test_a_service_is_reached_by_name_and_by_its_own_pods(kube: KubeClient) -> None:
    await a_web_service(kube, "reached")
    await kube.create(PODS, a_pod("asks", "/bin/sleep", "1000"), "default")
    await until(kube, "asks", ready)
    for host in ("reached", "reached.default", "reached.default.svc.cluster.local"):
        assert b"200" == (await execute(kube, "asks", "default", curl(f"http://{host}"))).stdout
    for pod in await kube.list(PODS, "default", label_selector="app=reached"):
        name = pod["metadata"]["name"]
        for _ in range(4):
            found = await execute(kube, name, "default", curl("http://reached"))
            assert b"200" == found.stdout
    gone = await execute(kube, "asks", "default", ["getent", "hosts", "nothing.default"])
    assert 2 == gone.exit_code


async def test_a_service_without_endpoints_refuses_at_once(kube: KubeClient) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "empty"},
        "spec": {"selector": {"app": "nobody"}, "ports": [{"port": 80}]},
    }
    await kube.create(SERVICES, body, "default")
    await kube.create(PODS, a_pod("refused", "/bin/sleep", "1000"), "default")
    await until(kube, "refused", ready)

    async def is_refused() -> bool:
        found = await execute(kube, "refused", "default", ["curl", "-s", "-m", "5", "http://empty"])
        return found.exit_code == 7

    await eventually(is_refused)


async def test_a_pod_is_ready_as_soon_as_its_probes_hold(kube: KubeClient) -> None:
    """Probes that failed while the program started are not put off for a whole period."""
    containers = [
        {
            "name": f"c{number}",
            "image": "web",
            "args": [str(8000 + number)],
            "readinessProbe": {"httpGet": {"port": 8000 + number}, "periodSeconds": 600},
        }
        for number in range(3)
    ]
    pod = a_pod("three")
    pod["spec"]["containers"] = containers
    await kube.create(PODS, pod, "default")
    await until(kube, "three", ready)


async def test_init_containers_run_before_and_sidecars_beside_the_others(kube: KubeClient) -> None:
    shared = [{"name": "shared", "mountPath": "/shared"}]
    pod = a_pod(
        "ordered",
        "/bin/sh",
        "-c",
        "cat /shared/log; exec sleep 1000",
        container={"volumeMounts": shared},
        volumes=[{"name": "shared", "emptyDir": {"medium": "Memory"}}],
        initContainers=[
            {
                "name": "first",
                "image": "shell",
                "command": ["/bin/sh", "-c", "echo first >> /shared/log"],
                "volumeMounts": shared,
            },
            {
                "name": "beside",
                "image": "shell",
                "command": ["/bin/sh", "-c", "echo beside >> /shared/log; exec sleep 1000"],
                "volumeMounts": shared,
                "restartPolicy": "Always",
                "startupProbe": {
                    "exec": {"command": ["grep", "-q", "beside", "/shared/log"]},
                    "periodSeconds": 1,
                },
            },
        ],
    )
    await kube.create(PODS, pod, "default")
    found = await until(kube, "ordered", ready)
    assert 0 == found["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"]
    assert "running" in found["status"]["initContainerStatuses"][1]["state"]
    lines = [line async for line in logs(kube, "ordered", "default", container="main")]
    assert [b"first", b"beside"] == [bytes(line).strip() for line in lines]


async def test_another_user_runs_programs_below_a_home_folder_that_is_closed(
    kube: KubeClient,
) -> None:
    secured = {
        "securityContext": {
            "runAsUser": 2102,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "readinessProbe": {"httpGet": {"port": 80}},
    }
    await kube.create(PODS, a_pod("secured", image="web", container=secured), "default")
    await until(kube, "secured", ready)
    found = await execute(kube, "secured", "default", ["/bin/sh", "-c", "id -u; touch /x"])
    assert b"2102\n" == found.stdout
    assert b"Read-only file system" in found.stderr


async def test_a_container_that_fails_restarts_and_keeps_its_last_log(kube: KubeClient) -> None:
    await kube.create(PODS, a_pod("fails", "/bin/sh", "-c", "echo oops; exit 3"), "default")

    def backs_off(pod: Object) -> bool:
        statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
        waiting = (statuses[0].get("state") or {}).get("waiting") or {}
        return bool(waiting.get("reason") == "CrashLoopBackOff")

    found = (await until(kube, "fails", backs_off))["status"]["containerStatuses"][0]
    assert 3 == found["lastState"]["terminated"]["exitCode"]
    assert 1 <= found["restartCount"]
    lines = [line async for line in logs(kube, "fails", "default", previous=True)]
    assert b"oops" == b"".join(bytes(line) for line in lines).strip()


async def test_a_container_whose_liveness_probe_fails_restarts(kube: KubeClient) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1}
    container = {"livenessProbe": {**probe, "failureThreshold": 1}}
    script = "touch /tmp/alive; sleep 1.5; rm /tmp/alive; exec sleep 1000"
    await kube.create(PODS, a_pod("lives", "/bin/sh", "-c", script, container=container), "default")
    found = await until(
        kube,
        "lives",
        lambda pod: any(
            entry["restartCount"] >= 1 and "running" in entry["state"]
            for entry in (pod.get("status") or {}).get("containerStatuses") or ()
        ),
    )
    assert 137 == found["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"]


async def test_a_changed_config_map_reaches_running_pods(kube: KubeClient) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "changing"}}
    await kube.create(CONFIG_MAPS, {**body, "data": {"key": "old"}}, "default")
    mounts = {"volumeMounts": [{"name": "config", "mountPath": "/config"}]}
    volumes = [{"name": "config", "configMap": {"name": "changing"}}]
    pod = a_pod("configured", "/bin/sleep", "1000", container=mounts, volumes=volumes)
    await kube.create(PODS, pod, "default")
    await until(kube, "configured", ready)

    async def shows(value: bytes) -> bool:
        found = await execute(kube, "configured", "default", ["cat", "/config/key"])
        return found.stdout == value

    assert await shows(b"old")
    await kube.patch(CONFIG_MAPS, "changing", {"data": {"key": "new"}}, "default")
    await eventually(lambda: shows(b"new"))


async def test_an_image_that_is_not_in_the_table_says_how_to_add_it(kube: KubeClient) -> None:
    await kube.create(PODS, a_pod("pulls", image="ghost:1"), "default")

    async def told() -> bool:
        found = await kube.list(EVENTS, "default", field_selector="involvedObject.name=pulls")
        return any("linkerd local image add ghost:1" in event["message"] for event in found)

    await eventually(told)


async def test_a_job_completes(kube: KubeClient) -> None:
    container = {"name": "c", "image": "shell", "command": ["/bin/true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {"template": template},
    }
    await kube.create(JOBS, body, "default")

    async def complete() -> bool:
        status = (await kube.get(JOBS, "once", "default")).get("status") or {}
        return bool(status.get("succeeded") == 1)

    await eventually(complete)


async def test_a_local_port_leads_into_a_pod(kube: KubeClient) -> None:
    probe = {"readinessProbe": {"httpGet": {"port": 80}}}
    await kube.create(PODS, a_pod("forwarded", image="web", container=probe), "default")
    await until(kube, "forwarded", ready)
    async with port_forward(kube, "forwarded", "default", 80) as (host, port):
        url = f"http://{host}:{port}/"
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
    assert b"Directory listing" in body


async def test_exec_passes_stdin_output_and_the_exit_code(kube: KubeClient) -> None:
    await kube.create(PODS, a_pod("entered", "/bin/sleep", "1000"), "default")
    await until(kube, "entered", ready)
    command = ["/bin/sh", "-c", "cat; echo wrong >&2; exit 5"]
    found = await execute(kube, "entered", "default", command, stdin=b"x" * 200_000)
    assert (5, b"x" * 200_000, b"wrong\n") == (found.exit_code, found.stdout, found.stderr)


@by_kubectl
@pytest.mark.parametrize("websockets", ["true", "false"], ids=["websocket", "spdy"])
async def test_kubectl_of_any_age_enters_and_forwards(
    cluster: Paths, kube: KubeClient, websockets: str
) -> None:
    name = f"aged-{websockets}"
    probe = {"readinessProbe": {"httpGet": {"port": 80}}}
    await kube.create(PODS, a_pod(name, image="web", container=probe), "default")
    await until(kube, name, ready)
    switches = ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS")
    environment = {**os.environ, **dict.fromkeys(switches, websockets)}
    kubectl = ["kubectl", "--kubeconfig", str(cluster.kubeconfig)]
    script = "wc -c; echo wrong >&2; exit 5"
    entered = await asyncio.create_subprocess_exec(
        *(*kubectl, "exec", "-i", name, "--", "/bin/sh", "-c", script),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await entered.communicate(b"x" * 200_000)
    assert (5, b"200000\n") == (entered.returncode, out)
    assert b"wrong\n" in err
    forward = await asyncio.create_subprocess_exec(
        *(*kubectl, "port-forward", "--address", "127.0.0.2", name, ":80"),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        assert forward.stdout is not None
        said = (await asyncio.wait_for(forward.stdout.readline(), 15.0)).decode()
        address = said.split()[2]
        assert address.startswith("127.0.0.2:"), said
        url = f"http://{address}/"
        for _ in range(3):
            body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
            assert b"Directory listing" in body
    finally:
        forward.terminate()
        await forward.communicate()


async def test_a_node_port_is_reached_from_the_host(kube: KubeClient) -> None:
    await a_web_service(kube, "outer")
    patch = {"spec": {"type": "NodePort", "ports": [{"port": 80, "targetPort": 80}]}}
    service = await kube.patch(SERVICES, "outer", patch, "default", type=MERGE)
    port = service["spec"]["ports"][0]["nodePort"]

    async def answers() -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        except OSError:
            # Nobody listens, or the node took the connection before there was an endpoint.
            return False
        return b"Directory listing" in answer

    await eventually(answers)
    await kube.delete(SERVICES, "outer", "default")

    async def closed() -> bool:
        return not await answers()

    await eventually(closed)


async def test_pods_reach_the_host_and_what_it_reaches_by_tcp(kube: KubeClient) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        peer = writer.get_extra_info("peername")[0]
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nseen from " + peer.encode())
        writer.close()
        await writer.wait_closed()

    await kube.create(PODS, a_pod("leaves", "/bin/sleep", "1000"), "default")
    await until(kube, "leaves", ready)
    own = await asyncio.create_subprocess_exec("hostname", "-I", stdout=asyncio.subprocess.PIPE)
    words = (await own.communicate())[0].decode().split()
    targets = [("127.0.0.1", HOST_NAME), *((ip, ip) for ip in words[:1] if ":" not in ip)]
    for listening, target in targets:
        async with await asyncio.start_server(answer, listening, 0) as server:
            port = server.sockets[0].getsockname()[1]
            command = ["curl", "-s", "-m", "5", f"http://{target}:{port}/"]
            found = await execute(kube, "leaves", "default", command)
            assert f"seen from {listening}".encode() == found.stdout
        refused = await execute(kube, "leaves", "default", command)
        assert (b"", True) == (refused.stdout, refused.exit_code in (7, 52, 56))


async def test_a_stateful_pod_finds_its_volume_again(kube: KubeClient) -> None:
    labels = {"app": "keeps"}
    mounts = [{"name": "data", "mountPath": "/data"}]
    command = ["/bin/sh", "-c", "echo once >> /data/log; exec sleep 1000"]
    container = {"name": "main", "image": "shell", "command": command, "volumeMounts": mounts}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    storage = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Mi"}},
    }
    spec = {
        "replicas": 1,
        "serviceName": "keeps",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": storage}],
    }
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "keeps"}}
    await kube.create(STATEFUL_SETS, {**body, "spec": spec}, "default")
    first = await until(kube, "keeps-0", ready)
    claim = await kube.get(PERSISTENT_VOLUME_CLAIMS, "data-keeps-0", "default")
    assert ("Bound", {"storage": "5Mi"}) == (claim["status"]["phase"], claim["status"]["capacity"])
    await kube.delete(PODS, "keeps-0", "default")
    uid = first["metadata"]["uid"]
    await until(kube, "keeps-0", lambda pod: ready(pod) and pod["metadata"]["uid"] != uid)
    found = await execute(kube, "keeps-0", "default", ["cat", "/data/log"])
    assert b"once\nonce\n" == found.stdout
    await kube.delete(STATEFUL_SETS, "keeps", "default")
    await kube.delete(PERSISTENT_VOLUME_CLAIMS, "data-keeps-0", "default")

    async def released() -> bool:
        volume = await kube.get(PERSISTENT_VOLUMES, claim["spec"]["volumeName"])
        return bool(volume["status"]["phase"] == "Released")

    await eventually(released)


@by_kubectl
async def test_a_terminal_has_a_name_a_size_and_signals(cluster: Paths, kube: KubeClient) -> None:
    pod = a_pod("terminal", "/bin/sh", container={"stdin": True, "tty": True})
    await kube.create(PODS, pod, "default")
    await until(kube, "terminal", ready)
    for verb in (["exec", "-it", "terminal", "--", "/bin/sh"], ["attach", "-it", "terminal"]):
        shown = await asyncio.to_thread(_type, cluster, verb)
        for expected in (b"/dev/pts/", b"44 120", b"after 130"):
            assert expected in shown, verb


def _type(cluster: Paths, verb: list[str]) -> bytes:
    """Types into a shell through kubectl on a terminal, and returns what it shows."""
    command = ["kubectl", "--kubeconfig", str(cluster.kubeconfig), *verb]
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    try:
        termios.tcsetwinsize(fd, (33, 101))
        shown = _until(fd, b"", b"# ") if verb[0] == "exec" else b""
        for typed, answer in (
            (b"tty; stty size; echo a$((1 + 1))\n", b"a2\r\n"),
            (b"sleep 100; echo after $?\n", b"after $?\r\n"),
        ):
            os.write(fd, typed)
            shown = _until(fd, shown, answer)
        for _ in range(50):  # one that comes before the command has begun is lost
            os.write(fd, b"\x03")
            if select.select([fd], [], [], 0.3)[0] and b"# " in (new := os.read(fd, 65536)):
                shown += new
                break
        for _ in range(20):  # a late interrupt drops what was typed
            os.write(fd, b"echo after $?\n")
            while select.select([fd], [], [], 0.5)[0] and b"after 130" not in shown:
                shown += os.read(fd, 65536)
            if b"after 130" in shown:
                break
        termios.tcsetwinsize(fd, (44, 120))
        for _ in range(50):
            os.write(fd, b"stty size; echo c$((1 + 1))\n")
            shown = _until(fd, shown, b"c2\r\n")
            if b"44 120" in shown:
                break
        os.write(fd, b"\x04")
        return shown
    finally:
        os.close(fd)
        os.waitpid(pid, 0)


def _until(fd: int, shown: bytes, answer: bytes) -> bytes:
    start = len(shown)
    while answer not in shown[start:]:
        assert select.select([fd], [], [], 15.0)[0], shown
        try:
            shown += os.read(fd, 65536)
        except OSError:
            raise AssertionError(shown) from None
    return shown


@pytest.mark.parametrize("part", ["node", "apiserver", "controllers"])
async def test_traffic_goes_on_while_a_part_is_killed(
    cluster: Paths, kube: KubeClient, part: str
) -> None:
    name = f"kept-{part}"
    await a_web_service(kube, name, replicas=1)
    (pod,) = await kube.list(PODS, "default", label_selector=f"app={name}")
    service = await kube.get(SERVICES, name, "default")
    url = f"http://{service['spec']['clusterIP']}/"
    loop = (
        f"while true; do curl -s -m 2 -o /dev/null -w '%{{http_code}}\\n' {url}; sleep 0.05; done"
    )
    await kube.create(PODS, a_pod(f"asks-{part}", "/bin/sh", "-c", loop), "default")
    await until(kube, f"asks-{part}", ready)
    before = supervisor.status(cluster).processes[part]
    os.kill(before, signal.SIGKILL)

    async def back() -> bool:
        return supervisor.status(cluster).processes.get(part, before) != before

    await eventually(back)
    meta = {"name": f"after-{part}"}
    body = {**a_pod(meta["name"], "/bin/sleep", "1000"), "metadata": meta}
    await kube.create(PODS, body, "default")
    await until(kube, meta["name"], ready)
    lines = [line async for line in logs(kube, f"asks-{part}", "default")]
    answers = b"".join(bytes(line) for line in lines).split()
    assert {b"200"} == set(answers)
    now = await kube.get(PODS, pod["metadata"]["name"], "default")
    assert 0 == now["status"]["containerStatuses"][0]["restartCount"]
    assert pod["status"]["podIP"] == now["status"]["podIP"]


async def test_pods_come_back_after_their_holder_is_killed(
    cluster: Paths, kube: KubeClient
) -> None:
    await kube.create(PODS, a_pod("returns", "/bin/sleep", "1000"), "default")
    await until(kube, "returns", ready)
    os.kill(supervisor.status(cluster).processes["zygote"], signal.SIGKILL)
    await until(
        kube,
        "returns",
        lambda pod: ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1,
    )


def test_a_second_start_says_that_it_runs(cluster: Paths) -> None:
    with pytest.raises(LocalError, match="runs already"):
        supervisor.start(cluster, _IMAGES, None, lambda _: None)
    assert supervisor.status(cluster).running


def test_a_port_in_use_is_told_and_leaves_nothing(cluster: Paths, tmp_path: Path) -> None:
    other = Paths(tmp_path / "other")
    port = supervisor.status(cluster).port
    with pytest.raises(LocalError, match=f"port {port} of 127.0.0.1 is in use"):
        supervisor.start(other, _IMAGES, port, lambda _: None)
    assert not other.state.exists()


@pytest.mark.parametrize("end", ["stop", "kill -9"])
async def test_the_end_of_a_cluster_leaves_nothing_behind(tmp_path: Path, end: str) -> None:
    paths = Paths(tmp_path / "brief")
    before = _traces(tmp_path)
    supervisor.start(paths, _IMAGES, None, lambda _: None)
    try:
        async with KubeClient(load(paths.kubeconfig)) as kube:
            await a_web_service(kube, "brief")
        processes = supervisor.status(paths).processes
        assert {"supervisor", "apiserver", "zygote", "node", "controllers"} == set(processes)
        if end == "stop":
            assert supervisor.stop(paths)
        else:
            os.kill(processes["supervisor"], signal.SIGKILL)

        async def gone() -> bool:
            return _traces(tmp_path) == before

        await eventually(gone)
        assert not supervisor.status(paths).running
    finally:
        supervisor.delete(paths)
    assert not paths.state.exists()


async def test_a_stopped_cluster_starts_again_with_its_pods(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "again")
    supervisor.start(paths, _IMAGES, None, lambda _: None)
    try:
        async with KubeClient(load(paths.kubeconfig)) as kube:
            await kube.create(PODS, a_pod("stays", "/bin/sleep", "1000"), "default")
            await until(kube, "stays", ready)
        port = supervisor.status(paths).port
        supervisor.stop(paths)
        supervisor.start(paths, _IMAGES, None, lambda _: None)
        assert port == supervisor.status(paths).port
        async with KubeClient(load(paths.kubeconfig)) as kube:
            await until(
                kube,
                "stays",
                lambda pod: (
                    ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1
                ),
            )
    finally:
        supervisor.delete(paths)


def _traces(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Returns what a cluster below `folder` could leave: processes, mounts, sockets."""
    mark = str(folder)
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                mounts = (entry / "mountinfo").read_text()
            except OSError:
                continue
            if mark in command or mark in mounts:
                processes.append(f"{entry.name} {command}")
    mounted = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if mark in line
    ]
    sockets = [line for line in Path("/proc/net/unix").read_text().splitlines() if mark in line]
    return processes, mounted, sockets
