"""`linkerd local` without root: the mesh in the user namespace of an ordinary user.

Runs the commands as a user without an entry in /etc/passwd and without a range of ids, so every
process of the cluster has one owner. Root is needed only to become that user.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.ordinary_user import processes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

ROOT = Path(__file__).parents[2]
UID = 47110
READY_S = 240.0

PROBE = """
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec:
  securityContext: {runAsUser: 1234, fsGroup: 77}
  containers:
  - name: probe
    image: ubuntu
    command: [sleep, "3600"]
    volumeMounts:
    - {name: data, mountPath: /data/new}
    - {name: data, mountPath: /var/lib/some/thing}
  volumes: [{name: data, emptyDir: {}}]
"""


class User:
    """Runs commands as the user."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        become = [sys.executable, "-m", "tests.integration.ordinary_user", str(UID)]
        return subprocess.run(
            [*become, str(self.home), *words],
            input=text, capture_output=True, text=True, cwd=ROOT, check=False, timeout=READY_S,
        )  # fmt: skip

    def linkerd(self, *words: str, text: str = "", ok: bool = True) -> str:
        code = "from linkerd.cli.main import main; raise SystemExit(main())"
        done = self.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", code, *words, text=text)
        assert not ok or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if str(self.home) in line]


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    home = Path(tempfile.mkdtemp(prefix="linkerd-user-", dir="/tmp"))
    os.chown(home, UID, UID)
    found = User(home)
    try:
        found.linkerd("local", "start")
        yield found
    finally:
        found.linkerd("local", "delete", ok=False)
        shutil.rmtree(home, ignore_errors=True)


def until(what: Callable[[], bool], wanted: str) -> None:
    deadline = time.monotonic() + READY_S
    while not what():
        assert time.monotonic() < deadline, wanted
        time.sleep(0.5)


def rows(output: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in output.splitlines()[1:] if line}


def test_a_pod_has_its_user_its_volumes_and_its_network(user: User) -> None:
    user.linkerd("local", "apply", "-f", "-", text=PROBE)

    def running() -> bool:
        pods = rows(user.linkerd("local", "get", "pods"))
        return pods.get("probe", [""])[0] == "1/1"

    until(running, "the pod runs")

    def inside(script: str) -> str:
        return user.linkerd("local", "exec", "probe", "--", "sh", "-c", script).strip()

    assert inside("id -u") == "1234"
    assert inside("touch /data/new/a && ls /var/lib/some/thing") == "a"
    assert inside("cat /etc/hostname") == "probe"
    assert inside("curl -sk -o /dev/null -w %{http_code} https://kubernetes/healthz") == "200"
    # What the user could change on the host is safe from a pod, and the cluster's keys are hidden.
    assert inside(f"touch {user.home}/x 2>/dev/null || echo refused") == "refused"
    assert inside(f"ls {user.home}/local/default/pki 2>/dev/null || echo hidden") == "hidden"


def test_emojivoto_is_meshed_and_measured(user: User) -> None:
    for words in (("install", "--crds"), ("install",), ("viz", "install")):
        user.linkerd("local", "apply", "-f", "-", text=user.linkerd(*words))
    user.linkerd("check", "--wait", "200s")
    user.linkerd("viz", "check", "--wait", "200s")
    manifest = str(ROOT / "demo" / "emojivoto" / "emojivoto.yml")
    meshed = user.linkerd("inject", manifest)
    user.linkerd("local", "apply", "-f", "-", text=meshed)

    def measured() -> bool:
        found = rows(user.linkerd("viz", "stat", "deploy", "-n", "emojivoto", ok=False))
        wanted = ("emoji", "voting", "web")
        return all(name in found and found[name][1] != "-" for name in wanted)

    until(measured, "every service has a success rate")

    def secured() -> bool:
        output = user.linkerd("viz", "edges", "deploy", "-n", "emojivoto", "-o", "json", ok=False)
        edges = json.loads(output or "[]")
        found = {(edge["src"], edge["dst"]) for edge in edges if not edge["no_tls_reason"]}
        return {("vote-bot", "web"), ("web", "emoji"), ("web", "voting")} <= found

    until(secured, "the edges are secured")


@pytest.mark.parametrize("name", ["node", "apiserver", "controllers"])
def test_a_killed_part_comes_back(user: User, name: str) -> None:
    def pid() -> int:
        try:
            return int((user.home / "local" / "default" / "pids" / f"{name}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    before = pid()
    os.kill(before, 9)
    until(lambda: pid() not in (0, before), f"{name} runs again")
    until(lambda: "probe" in user.linkerd("local", "get", "pods", ok=False), "the API answers")


def test_stop_leaves_nothing_and_start_goes_on(user: User) -> None:
    user.linkerd("local", "stop")
    assert processes(UID) == []
    assert user.mounts() == []
    assert not (user.home / "local" / "default" / "node.sock").exists()
    assert "was not running" in user.linkerd("local", "stop")
    user.linkerd("local", "start")
    assert "probe" in user.linkerd("local", "get", "pods")


def test_the_end_of_the_process_outside_ends_everything(user: User) -> None:
    pids = user.home / "local" / "default" / "pids"
    os.kill(int((pids / "outside.pid").read_text()), 9)
    until(lambda: processes(UID) == [], "all processes end")
    assert "not running" in user.linkerd("local", "status", ok=False)
    user.linkerd("local", "start")
    assert "probe" in user.linkerd("local", "get", "pods")
