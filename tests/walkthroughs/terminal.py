"""The reader's terminal: a shell beside a cluster, in a network of its own.

Commands run verbatim. What cannot be had offline is replaced in one place, the programs in
`stand_ins/`, which come first on PATH: `curl` and `kubectl` take the manifests of run.linkerd.io
from this repository, `brew` and the install script find the command installed, `kind` is `linkerd
local`, `helm` renders with `linkerd install`, `microk8s` passes its words on. The private network
keeps the documents' fixed ports free.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.walkthroughs.steps import Step, Walk

ROOT = Path(__file__).resolve().parent.parent.parent
STAND_INS = Path(__file__).resolve().parent / "stand_ins"
START = "linkerd local start"
OURS = "linkerd local kubectl"
"""What stands in for a kubectl that is not installed; $KUBECTL chooses another."""
_TIMEOUT_S = 300.0
_PAUSE_S = 0.5
_REMEMBERING = """\
[ -e .variables ] && . ./.variables
set -o pipefail
{}
code=$?
declare -p | grep '^declare -- [a-z]' > .variables
exit $code
"""
"""A command in a shell that keeps the variables of the commands before."""


@dataclass(frozen=True)
class Given:
    """A cluster that stands already; the terminal neither starts nor deletes one.

    Attributes:
        kubeconfig: For its administrator, from within `network`.
        kubectl: The command.
        network: File of the network namespace in which the reader types.
    """

    kubeconfig: Path
    kubectl: Path
    network: str


class Terminal:
    """Runs the commands of one document; ends everything it started.

    Args:
        home: The reader's home.
        given: The cluster; without one, the document starts a local cluster itself.
    """

    def __init__(self, home: Path, given: Given | None = None) -> None:
        self._home = home
        self._given = given
        self._background: list[tuple[subprocess.Popen[bytes], Path]] = []
        programs = [str(STAND_INS), str(Path(sys.executable).parent), os.environ["PATH"]]
        self._environment = {
            **os.environ,
            "HOME": str(home),
            "LINKERD_LOCAL_HOME": str(home / "local"),
            "KUBECONFIG": str(home / "kubeconfig"),
            "PATH": ":".join(programs),
            "LINKERD_LOCAL_KUBECTL": "own",
            "REAL_CURL": shutil.which("curl") or "",
            "REAL_KUBECTL": os.environ.get("KUBECTL") or shutil.which("kubectl") or OURS,
            "BUNDLED": str(ROOT / "demo"),
            "CHARTS": str(ROOT / "charts"),
            "BROWSER": "true",
            "TERM": "xterm",
            "COLUMNS": "200",
        }
        self._network: subprocess.Popen[bytes] | None = None
        if given is None:
            # Holds the network namespace until the document ends.
            hold = "ip link set lo up && echo && exec sleep infinity"
            self._network = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", hold], stdout=subprocess.PIPE
            )
            assert self._network.stdout is not None and self._network.stdout.readline()
            network = f"/proc/{self._network.pid}/ns/net"
        else:
            (home / "kubeconfig").write_bytes(given.kubeconfig.read_bytes())
            self._environment |= {"REAL_KUBECTL": str(given.kubectl), "CLUSTER": "given"}
            network = given.network
        self._shell = ["nsenter", f"--net={network}", "bash", "-c"]

    def walk(self, walk: Walk) -> None:
        """Runs all commands of a document; the first that does not show its lines fails."""
        for step in walk.steps:
            if not step.missing and not (self._given and step.command == START):
                self.run(step)

    def run(self, step: Step) -> None:
        """Runs one command and compares what it shows."""
        if step.background:
            self._start(step)
        else:
            self._retry(step, functools.partial(self._once, step), rerun=step.reruns)
        for command in step.then:
            looking = Step(command, reruns=True)
            self._retry(looking, functools.partial(self._served, step, looking), rerun=True)

    def close(self) -> None:
        """Ends the background commands, the cluster and the network."""
        for process, _ in self._background:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=20)
        if self._network is not None:
            self._output("linkerd local delete")
            self._network.kill()
            self._network.communicate()

    def _retry(self, step: Step, ask: Callable[[], tuple[int, str]], *, rerun: bool) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            code, output = ask()
            left = step.left(output)
            if not left and code == 0:
                return
            if not rerun or time.monotonic() > deadline:
                wanted = "\n".join(left)
                raise AssertionError(
                    f"$ {step.command}\n{output}\nexit code {code}; "
                    f"lines that are not shown:\n{wanted}"
                )
            time.sleep(_PAUSE_S)

    def _once(self, step: Step) -> tuple[int, str]:
        if step.typed:
            typed = "".join(f"{line}\n" for line in (*step.typed, "exit"))
            script = ["script", "-qec", step.command, "/dev/null"]
            return self._output(" ".join(map(shlex.quote, script)), typed)
        return self._output(_REMEMBERING.format(step.command))

    def _served(self, step: Step, looking: Step) -> tuple[int, str]:
        """Looks once at what the last background command serves, started again if it gave up.

        `kubectl port-forward` does when nothing listens in the pod yet; a reader types it again.
        """
        process, log = self._background[-1]
        code, output = self._once(looking)
        if code and process.poll() is not None:
            output = f"{output}\n$ {step.command}\n{log.read_text()}"
            self._start(step)
        return code, output

    def _output(self, command: str, stdin: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [*self._shell, command],
            input=stdin,
            env=self._environment,
            cwd=self._home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        return done.returncode, done.stdout

    def _start(self, step: Step) -> None:
        log = self._home / f"background-{len(self._background)}.log"
        command = step.command.removesuffix("&").strip()
        if step.screen:
            command = f"script -qefc {shlex.quote(command)} /dev/null"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*self._shell, f"exec {command}"],
                env=self._environment,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._background.append((process, log))

        def shown() -> tuple[int, str]:
            return process.poll() or 0, log.read_text()

        self._retry(step, shown, rerun=True)
