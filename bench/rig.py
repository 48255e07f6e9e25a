"""The rig: network namespaces, pinned processes, and what the kernel counted for them."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

CLIENT_IP = "10.231.0.1"
SERVER_IP = "10.231.0.2"
SERVICE_IP = "10.96.0.10"
PROXY_UID = 2102
PROXY_CORE = 0
LOAD_CORE = 1
START_WITHIN_S = 20.0


class RigError(Exception):
    """A program could not be started; the message names it."""


class Side:
    """One network namespace with its processes."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        sh(f"ip netns add {name}")
        self.run("ip link set lo up")

    @property
    def within(self) -> list[str]:
        """Words in front of a command that shall run inside."""
        return ["ip", "netns", "exec", self.name]

    def run(self, command: str) -> str:
        """Runs a command inside and returns its output."""
        return sh(f"{shlex.join(self.within)} {command}")

    def start(
        self,
        label: str,
        command: list[str],
        core: int,
        *,
        uid: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a process inside, pinned to `core`; its output goes to `<folder>/<side>-<label>.log`."""
        words = [*self.within, "taskset", "-c", str(core)]
        if uid is not None:
            words += as_user(uid)
        with self._log(label).open("wb") as log:
            process = subprocess.Popen(
                words + command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        self.processes.append(process)
        return process

    def wait_for_port(self, label: str, port: int, process: subprocess.Popen[bytes]) -> None:
        """Returns when something listens on `port` inside, raises with the log's end otherwise."""

        def listening() -> bool:
            if process.poll() is not None:
                raise RigError(f"{label} ended: {self.log(label)}")
            return f":{port} " in self.run("ss -Htln")

        wait_until(listening, f"{label} does not listen on {port}: {self.log(label)}")

    def log(self, label: str) -> str:
        """The end of a process's output."""
        return self._log(label).read_text(errors="replace")[-500:].strip()

    def _log(self, label: str) -> Path:
        return self.folder / f"{self.name}-{label}.log"

    def close(self) -> None:
        """Ends the processes, then the namespace."""
        for process in self.processes:
            process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


class Pair:
    """Two joined namespaces; traffic to [`SERVICE_IP`] leaves the client towards the server."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self.client = Side(f"l5dbench-{name}-c", folder)
        self.server = Side(f"l5dbench-{name}-s", folder)
        sh(
            f"ip link add eth0 netns {self.client.name} type veth"
            f" peer name eth0 netns {self.server.name}"
        )
        for side, own, other in (
            (self.client, CLIENT_IP, SERVER_IP),
            (self.server, SERVER_IP, CLIENT_IP),
        ):
            side.run(f"ip address add {own}/24 dev eth0")
            side.run("ip link set eth0 up")
            side.run(f"ip route add default via {other}")
        self.proxies: list[subprocess.Popen[bytes]] = []
        # With which words and environment they were started.
        self.commands: list[tuple[list[str], Mapping[str, str]]] = []

    def redirect(self, init: list[str]) -> None:
        """Writes the redirect rules of a pod on both sides."""
        flags = (
            f" --incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid {PROXY_UID}"
            " --inbound-ports-to-ignore 4190,4191 --log-level error"
        )
        for side in (self.client, self.server):
            side.run(shlex.join(init) + flags)

    def pin_proxies(self, core: int) -> None:
        """Moves every thread of both proxies to `core`."""
        for process in self.proxies:
            for task in os.listdir(f"/proc/{process.pid}/task"):
                os.sched_setaffinity(int(task), {core})

    def close(self) -> None:
        """Ends both sides."""
        self.client.close()
        self.server.close()


def remove_leftovers() -> None:
    """Deletes what a killed run left."""
    for line in sh("ip netns list").splitlines():
        name = line.split()[0]
        if not name.startswith("l5dbench-"):
            continue
        for pid in sh(f"ip netns pids {name}").split():
            os.kill(int(pid), 9)
        sh(f"ip netns delete {name}")


def as_user(uid: int) -> list[str]:
    """Words in front of a command that shall run as this user."""
    return ["setpriv", f"--reuid={uid}", "--clear-groups"]


def sh(command: str) -> str:
    """Runs a command and returns its output; raises with its message when it fails."""
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait_until(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise RigError(failure)
        time.sleep(0.05)


def cpu_ns(processes: Iterable[subprocess.Popen[bytes]]) -> int:
    """Nanoseconds that the processes' threads have run, from the scheduler."""
    total = 0
    for process in processes:
        for stat in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            total += int(stat.read_text().split()[0])
    return total


def memory_kb(process: subprocess.Popen[bytes]) -> dict[str, int]:
    """Resident, proportional and private memory of a process, in kB."""
    found = {}
    for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value = line.split(":")
        if key in ("Rss", "Pss", "Pss_Anon"):
            found[key.lower()] = int(value.split()[0])
    return found
