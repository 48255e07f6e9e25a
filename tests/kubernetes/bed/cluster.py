"""Starts and ends beds, from outside.

    up ── janitor ── unshare(net, mount, pid) ── node

The janitor waits for the end of `unshare`, however it comes, and removes what namespaces do not take
with them: pods' cgroups and the folder of state. If the janitor is killed, `unshare` dies of it
and the next `up` or `down` cleans up.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.kubernetes.bed import build, pki
from tests.kubernetes.bed.node import FAILED, READY, cgroup_hierarchies, ctr
from tests.kubernetes.bed.paths import Paths

_ROOT = build.HERE.parents[2]
_START_S = 120.0
_STOP_S = 20.0
_PAUSE_S = 0.05
# program: Debian package
PROGRAMS = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/bin/busybox": "busybox-static",
    "iptables": "iptables",
    "ip": "iproute2",
}


class BedError(Exception):
    """The bed cannot be started; the message says why and where the logs are."""


def missing() -> list[str]:
    """Returns the Debian packages that the bed needs and this machine lacks."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


def provide() -> None:
    """Installs the Debian packages that are missing; their own services do not start.

    Raises:
        BedError: there is no apt-get, or it fails.
    """
    lacking = missing()
    if not lacking:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise BedError(f"packages are missing, and only root may install them: {lacking}")
    print(f"installing {' '.join(lacking)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *lacking]):
        done = subprocess.run(
            ["apt-get", *words], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BedError(f"apt-get {' '.join(words)}: {done.stderr.strip()}")


def up(paths: Paths, *, api_only: bool = False, follow: bool = False) -> None:
    """Starts the bed and returns when its node is ready and its DNS answers.

    Args:
        paths: Of the bed.
        api_only: Start etcd and the API server, nothing that acts on objects.
        follow: End the bed when the calling thread ends, by whatever signal.

    Raises:
        BedError: it runs already, a package is missing, or a component does not start.
    """
    if os.geteuid() != 0:
        raise BedError("the bed makes namespaces: run it as root")
    if lacking := missing():
        raise BedError(f"packages are missing: apt-get install {' '.join(lacking)}")
    if running(paths):
        raise BedError(f"bed {paths.name} runs already")
    build.binaries()
    sweep(paths)
    paths.config.mkdir(parents=True)
    paths.root.chmod(0o700)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pki.prepare(paths, listener.getsockname()[1])
        _spawn_janitor(paths, listener, ("api",) if api_only else (), follow=follow)
    deadline = time.monotonic() + _START_S
    while not (paths.root / READY).exists():
        failed = paths.root / FAILED
        if failed.exists() or not _alive(paths) or time.monotonic() > deadline:
            why = failed.read_text().strip() if failed.exists() else "its first process ended"
            kept = _keep_logs(paths)
            down(paths)
            raise BedError(f"bed {paths.name} does not start: {why}; logs are in {kept}")
        time.sleep(_PAUSE_S)


def _spawn_janitor(
    paths: Paths, listener: socket.socket, words: tuple[str, ...], *, follow: bool
) -> None:
    ready_read, ready_write = os.pipe()
    janitor = os.fork()
    if janitor == 0:
        os.close(ready_read)
        os.setsid()
        if follow:
            # Taken as a request to end what it watches; see `_janitor`.
            _signal_when_parent_ends(signal.SIGTERM)
        _janitor(paths, listener, ready_write, words)
    os.close(ready_write)
    os.read(ready_read, 1)
    os.close(ready_read)


def _janitor(paths: Paths, listener: socket.socket, ready: int, words: tuple[str, ...]) -> None:
    """Runs until the bed ended; does not return."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        listener.set_inheritable(True)
        flags = ("--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
        node = (sys.executable, "-m", "tests.kubernetes.bed.node")
        process = subprocess.Popen(
            ["unshare", *flags, *node, paths.name, str(listener.fileno()), *words],
            pass_fds=(listener.fileno(),),
            cwd=_ROOT,
            preexec_fn=lambda: _signal_when_parent_ends(signal.SIGKILL),
        )
        signal.signal(signal.SIGTERM, lambda *_: process.kill())
        listener.close()
        paths.pid.write_text(f"{process.pid}\n")
        os.write(ready, b".")
        os.close(ready)
        process.wait()
        # `up` reads why it failed, and removes the rest itself.
        if not (paths.root / FAILED).exists():
            sweep(paths)
    finally:
        os._exit(0)


def _signal_when_parent_ends(wanted: signal.Signals) -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, wanted)


def down(paths: Paths) -> None:
    """Ends the bed and removes all that is left of it; nothing to end is no error."""
    pid = _pid(paths)
    if pid is not None and _alive(paths):
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _STOP_S
        while _alive(paths) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
    sweep(paths)


def running(paths: Paths) -> bool:
    """Returns whether the bed is up."""
    return _alive(paths) and (paths.root / READY).exists()


def load(paths: Paths, archives: Sequence[Path]) -> None:
    """Imports OCI archives into the node.

    Raises:
        BedError: containerd refuses one.
    """
    for archive in archives:
        done = inside(paths, *ctr(paths), "images", "import", str(archive))
        if done.returncode:
            raise BedError(f"cannot import {archive}: {done.stderr.strip()}")


def inside(paths: Paths, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the node's namespaces; returns how it ended and what it printed."""
    first = first_process(paths)
    enter = ("nsenter", "--target", str(first), "--net", "--mount", "--pid")
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=False)


def first_process(paths: Paths) -> int:
    """Returns the id of the process whose namespaces are the node's."""
    pid = _pid(paths)
    if pid is None or not _alive(paths):
        raise BedError(f"bed {paths.name} does not run")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if not children:
        raise BedError(f"bed {paths.name} is ending")
    return int(children[0])


def _pid(paths: Paths) -> int | None:
    try:
        return int(paths.pid.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _alive(paths: Paths) -> bool:
    """Whether the recorded process is still ours: numbers are used again."""
    pid = _pid(paths)
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"tests.kubernetes.bed.node" in command and paths.name.encode() in command


def _keep_logs(paths: Paths) -> Path:
    kept = paths.root.with_name(f"{paths.name}-logs")
    shutil.rmtree(kept, ignore_errors=True)
    if paths.logs.exists():
        shutil.copytree(paths.logs, kept)
    return kept


def sweep(paths: Paths) -> None:
    """Removes cgroups and state of a bed that does not run."""
    for hierarchy in cgroup_hierarchies():
        _remove_cgroup(hierarchy / paths.cgroup.lstrip("/"))
    shutil.rmtree(paths.root, ignore_errors=True)


def _remove_cgroup(top: Path) -> None:
    deadline = time.monotonic() + _STOP_S
    folders = sorted((Path(one) for one, _, _ in os.walk(top)), key=lambda p: -len(p.parts))
    for folder in folders:
        while folder.exists():
            try:
                folder.rmdir()
            except OSError:
                # The last processes are dying.
                if time.monotonic() > deadline:
                    return
                time.sleep(_PAUSE_S)
