"""`linkerd local kubectl` where no kubectl is installed: our own verbs, end to end.

Each test is a line of commands that a document could have. The installed kubectl has its own tests.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the cluster makes namespaces as root"),
    pytest.mark.timeout(200),
]
_LINKERD = [sys.executable, "-c", "from linkerd.cli.main import main; raise SystemExit(main())"]
_OTHER_IMAGE = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "other"}]}}}}
_DEADLINE_S = 60.0


class Shell:
    """Runs our command with a PATH that has no kubectl."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            **os.environ,
            "LINKERD_LOCAL_HOME": str(folder / "local"),
            "LINKERD_LOCAL_KUBECTL": "own",
            "KUBECONFIG": str(folder / "kubeconfig"),
        }

    def linkerd(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*_LINKERD, *words],
            input=text, capture_output=True, text=True, check=False, env=self.environment,
            timeout=_DEADLINE_S,
        )  # fmt: skip

    def kubectl(self, *words: str, text: str = "") -> str:
        done = self.linkerd("local", "kubectl", *words, text=text)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def until(self, ask: Callable[[], str], wanted: str) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while wanted not in (text := ask()):
            assert time.monotonic() < deadline, text
            time.sleep(0.1)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    found = Shell(tmp_path_factory.mktemp("kubectl"))
    assert found.linkerd("local", "start").returncode == 0
    try:
        serve = [sys.executable, "-m", "http.server", "8080"]
        assert found.linkerd("local", "image", "add", "web", "--", *serve).returncode == 0
        found.kubectl("create", "ns", "shop")
        made = found.kubectl(
            "create", "deployment", "web", "--image", "web", "--port", "8080", "-n", "shop"
        )
        assert made == "deployment.apps/web created\n"
        found.kubectl("rollout", "status", "deploy/web", "-n", "shop", "--timeout", "50s")
        yield found
    finally:
        found.linkerd("local", "delete")


def test_objects_are_labelled_annotated_scaled_and_shown(shell: Shell) -> None:
    shell.kubectl("label", "ns", "shop", "team=a")
    refused = shell.linkerd("local", "kubectl", "label", "ns", "shop", "team=b")
    assert (1, "") == (refused.returncode, refused.stdout)
    assert "--overwrite is false" in refused.stderr
    shell.kubectl("label", "ns", "shop", "team=b", "--overwrite")
    assert "namespace/shop\n" == shell.kubectl("get", "ns", "-l", "team=b", "-o", "name")
    shell.kubectl("annotate", "deploy", "web", "-n", "shop", "note=hello, world")
    assert "note: hello, world" in shell.kubectl("get", "deploy/web", "-n", "shop", "-o", "yaml")
    shell.kubectl("scale", "deploy/web", "-n", "shop", "--replicas", "2")
    shell.kubectl("wait", "deploy/web", "-n", "shop", "--for", "condition=available")
    rolled = shell.kubectl("rollout", "status", "deploy", "-n", "shop", "--timeout", "50s")
    assert rolled.endswith('deployment "web" successfully rolled out\n')
    assert "2/2" in shell.kubectl("get", "deploy", "-n", "shop")


def test_objects_are_printed_as_asked(shell: Shell) -> None:
    path = "jsonpath={.spec.ports[0].containerPort} {.items[*].metadata.name}"
    get = ("get", "deploy", "-n", "shop")
    assert " web" == shell.kubectl(*get, "-o", path)
    assert shell.kubectl(*get, "--no-headers").startswith("web ")
    assert "app=web" in shell.kubectl(*get, "--show-labels")
    assert "" == shell.kubectl(*get, "--field-selector", "metadata.name=other")
    refused = shell.linkerd("local", "kubectl", *get, "-o", "jsonp")
    assert "output format 'jsonp' not recognized" in refused.stderr


def test_a_watch_prints_what_changes(shell: Shell) -> None:
    words = ("local", "kubectl", "get", "ns", "--watch")
    with subprocess.Popen(
        [*_LINKERD, *words], stdout=subprocess.PIPE, text=True, env=shell.environment
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("NAME ")
            shell.kubectl("create", "ns", "seen-later")
            while not (line := process.stdout.readline()).startswith("seen-later"):
                assert line, "the watch ended"
            assert "Active" in line
        finally:
            process.terminate()
    shell.kubectl("delete", "ns", "seen-later", "--wait=false")


def test_an_undone_rollout_has_the_template_before(shell: Shell) -> None:
    target = ("deploy/web", "-n", "shop")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    shell.kubectl("patch", *target, "-p", json.dumps(_OTHER_IMAGE))
    assert "other" == shell.kubectl("get", *target, "-o", image)
    assert "deployment.apps/web rolled back\n" == shell.kubectl("rollout", "undo", *target)
    assert "web" == shell.kubectl("get", *target, "-o", image)
    shell.kubectl("rollout", "status", *target, "--timeout", "50s")
    assert "REVISION" in shell.kubectl("rollout", "history", *target)


def test_a_restart_replaces_the_pods(shell: Shell) -> None:
    before = set(shell.kubectl("get", "pods", "-n", "shop", "-o", "name").split())
    shell.kubectl("rollout", "restart", "deploy/web", "-n", "shop")
    shell.kubectl("rollout", "status", "deploy/web", "-n", "shop", "--timeout", "50s")
    after = set(shell.kubectl("get", "pods", "-n", "shop", "-o", "name").split())
    assert after - before


def test_a_command_gets_input_and_gives_its_exit_code(shell: Shell) -> None:
    target = ("deploy/web", "-n", "shop")
    assert "hello" == shell.kubectl("exec", "-i", *target, "--", "cat", text="hello")
    done = shell.linkerd("local", "kubectl", "exec", *target, "--", "sh", "-c", "exit 7")
    assert 7 == done.returncode


def test_logs_of_several_containers_are_told_apart(shell: Shell) -> None:
    run = ("-n", "shop", "--image", "web", "-l", "app=talk")
    for name in ("one", "two"):
        shell.kubectl(
            "run", name, *run, "--command", "--", "sh", "-c", f"echo I am {name}; sleep 900"
        )
        shell.kubectl(
            "wait", f"pod/{name}", "-n", "shop", "--for", "condition=Ready", "--timeout", "50s"
        )
        shell.until(partial(shell.kubectl, "logs", name, "-n", "shop"), f"I am {name}")
    logs = ("logs", "-l", "app=talk", "-n", "shop", "--all-containers", "--prefix")
    lines = shell.kubectl(*logs).splitlines()
    assert ["[pod/one/one] I am one", "[pod/two/two] I am two"] == sorted(lines)
    assert "I am two\n" == shell.kubectl("logs", "two", "two", "-n", "shop")
    shell.kubectl("delete", "pods", "-l", "app=talk", "-n", "shop", "--now")


def test_files_are_copied_both_ways(shell: Shell, tmp_path: Path) -> None:
    pods = shell.kubectl("get", "pods", "-n", "shop", "-l", "app=web", "-o", "name").split()
    pod = pods[0].removeprefix("pod/")
    site = tmp_path / "site"
    (site / "deep").mkdir(parents=True)
    (site / "page.html").write_text("hello " * 20000)
    (site / "deep" / "run.sh").write_text("#!/bin/sh\n")
    (site / "deep" / "run.sh").chmod(0o755)
    shell.kubectl("cp", str(site), f"shop/{pod}:/tmp/copied")
    shell.kubectl("cp", str(site / "page.html"), f"{pod}:/tmp/copied/deep/", "-n", "shop")
    back = tmp_path / "back"
    shell.kubectl("cp", f"{pod}:/tmp/copied", str(back), "-n", "shop")
    found = {str(path.relative_to(back)) for path in back.rglob("*") if path.is_file()}
    assert {"page.html", "deep/page.html", "deep/run.sh"} == found
    assert "hello " * 20000 == (back / "deep" / "page.html").read_text()
    assert 0o755 == (back / "deep" / "run.sh").stat().st_mode & 0o777
    missing = shell.linkerd("local", "kubectl", "cp", f"shop/{pod}:/none", str(tmp_path / "none"))
    assert missing.returncode != 0
    assert "No such file" in missing.stderr


def test_a_terminal_is_the_containers(shell: Shell) -> None:
    words = [*_LINKERD, "local", "kubectl", "exec", "-it", "deploy/web", "-n", "shop", "--", "sh"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], words, shell.environment)
    try:
        _read_until(terminal, lambda seen: b"# " in seen)
        os.write(terminal, b"tty; echo a$((1+2))b\n")
        seen = _read_until(terminal, lambda seen: b"a3b" in seen)
        assert b"/dev/pts/0" in seen
        os.write(terminal, b"exit 5\n")
        assert 5 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(terminal)


def _read_until(fd: int, enough: Callable[[bytes], bool]) -> bytes:
    seen = b""
    deadline = time.monotonic() + _DEADLINE_S
    while not enough(seen):
        assert select.select([fd], [], [], deadline - time.monotonic())[0], seen
        seen += os.read(fd, 4096)
    return seen


def test_a_services_port_is_forwarded_to_its_target(shell: Shell) -> None:
    service = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
    shell.kubectl("create", "-f", "-", text=service)
    words = ["local", "kubectl", "-n", "shop", "port-forward", "svc/web", ":80"]
    process = subprocess.Popen(
        [*_LINKERD, *words], stdout=subprocess.PIPE, text=True, env=shell.environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.removeprefix("Forwarding from ").split()[0]
        with urllib.request.urlopen(f"http://{address}/", timeout=_DEADLINE_S) as answer:
            assert 200 == answer.status
    finally:
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(_DEADLINE_S)
        if process.stdout is not None:
            process.stdout.close()


def test_objects_are_edited_and_deleted(shell: Shell) -> None:
    shell.kubectl("create", "cm", "settings", "--from-literal", "color=red")
    editor = {**shell.environment, "EDITOR": "sed -i s/red/blue/"}
    done = subprocess.run(
        [*_LINKERD, "local", "kubectl", "edit", "cm/settings"], env=editor, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert "configmap/settings edited\n" == done.stdout
    assert "color: blue" in shell.kubectl("get", "cm", "settings", "-o", "yaml")
    assert 'configmap "settings" deleted\n' == shell.kubectl("delete", "cm/settings")
    gone = shell.linkerd("local", "kubectl", "delete", "cm/settings")
    assert 1 == gone.returncode
    assert "NotFound" in gone.stderr
    assert "" == shell.kubectl("delete", "cm/settings", "--ignore-not-found")


def test_an_unknown_verb_says_so(shell: Shell) -> None:
    done = shell.linkerd("local", "kubectl", "drain", "local")
    assert 1 == done.returncode
    assert 'unknown command "drain"' in done.stderr
    assert "install kubectl" in done.stderr


def test_versions_and_configuration_are_shown(shell: Shell) -> None:
    assert "Server Version: v1." in shell.kubectl("version", "--short")
    assert "token: REDACTED" in shell.kubectl("config", "view")
