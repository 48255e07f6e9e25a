"""The process tree of a local cluster: kept alive, and ended without a trace.

    supervisor    holds the lock and the host listener; enters a network namespace of its own
      │           (the node's), and as another user than root a user namespace before (unprivileged)
      ├── apiserver     host listener + 10.244.0.1:6443
      ├── zygote        PID 1 of the pods' PID namespace; holds the containers
      ├── node          the kubelet
      └── controllers

All links, addresses, routes and NAT rules live in that namespace and vanish with it; the host's own
network is never changed. Children die with the supervisor, whatever ends it (PDEATHSIG).
The supervisor is single-threaded and has no event loop, so that it may fork into namespaces.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linkerd.errors import LocalError
from linkerd.local import running, unprivileged
from linkerd.local.node import link, linux
from linkerd.local.paths import (
    DNS_SERVICE_IP,
    NODE_API_PORT,
    NODE_IP,
    SERVICE_CIDR,
    Paths,
)

_CHILD_STOP_S = 5.0
_BACKOFF_MIN_S, _BACKOFF_MAX_S = 0.1, 5.0
_HEALTHY_S = 10.0
#: Tells the first API server of a run that the last run's containers are gone.
_FRESH = "--fresh"
_LAST_BYTES = 4096
_LOG_BYTES_MAX = 5 * 1024 * 1024

_OWN_PACKAGES = ("linkerd", "demo")
_LIBRARIES = (
    "anyio", "click", "cryptography", "google", "grpc", "h11", "httpcore2", "httpx2", "idna",
    "msgspec", "prometheus_client", "starlette", "uvicorn", "wsproto", "yaml",
)  # fmt: skip


@dataclass
class _Child:
    """One process of the tree."""

    name: str
    argv: list[str]
    fds: tuple[int, ...] = ()
    pid_namespace: bool = False
    once: bool = False
    pid: int = 0
    pidfd: int = -1
    started: float = 0.0
    backoff_s: float = _BACKOFF_MIN_S
    restart_at: float | None = None
    restarts: int = 0


class Supervisor:
    """The process that owns the node's namespace and its children."""

    def __init__(self, paths: Paths, listener: int, report: int, lock: int) -> None:
        self._paths = paths
        self._report_fd = report
        self._listener = listener
        self._lock = lock
        self._children: dict[str, _Child] = {}
        self._poll = select.poll()
        self._stopping = False
        self._ready, self._ready_writer = os.pipe2(os.O_CLOEXEC)
        self._wake, wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def run(self, outside: int = -1) -> int:
        """Runs the cluster until it is told to stop; returns the exit code.

        Args:
            outside: Socket to the process outside of the user namespace, -1 when run by root.
        """
        running.write_atomically(self._paths.pids / "supervisor.pid", str(os.getpid()))
        host = outside
        try:
            if outside < 0:
                host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            else:
                running.write_atomically(self._paths.pids / "outside.pid", str(os.getppid()))
                unprivileged.enter(outside)
            linux.unshare(linux.CLONE_NEWNET)
            link.prepare_node(NODE_IP, DNS_SERVICE_IP, SERVICE_CIDR)
            inside = socket.create_server((NODE_IP, NODE_API_PORT), backlog=512)
        except LocalError as error:
            self._report(error=error.message, hint=error.hint)
            return 1
        except OSError as error:
            self._report(error=f"the node's network cannot be made: {error}")
            return 1
        self._report(progress="network namespace made")
        state = str(self._paths.state)
        listeners = (self._listener, inside.fileno(), self._ready_writer)
        self._add(
            _Child(
                "apiserver",
                [
                    "linkerd.local.apiserver",
                    f"--state={state}",
                    f"--cluster={self._paths.state.name}",
                    f"--listen-fd={listeners[0]},{listeners[1]}",
                    f"--ready-fd={listeners[2]}",
                    _FRESH,
                ],
                listeners,
            )
        )
        folder = self._paths.state / "node"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._add(_Child("zygote", ["linkerd.local.node.zygote", str(folder)], pid_namespace=True))
        if self._paths.component_kubeconfig("node").exists():
            self._add_clients(host)
        self._poll.register(self._ready, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        while not self._stopping:
            self._turn(host)
        self._end_children()
        running.clean(self._paths)
        return 0

    def _add_clients(self, host: int) -> None:
        if "node" in self._children:
            return
        state = f"--state={self._paths.state}"
        self._add(_Child("node", ["linkerd.local.node", state, f"--outside-fd={host}"], (host,)))
        self._add(_Child("controllers", ["linkerd.local.controllers", state]))
        self._add(_Child("compileall", ["compileall", "-q", *_sources()], once=True))

    def _add(self, child: _Child) -> None:
        self._children[child.name] = child
        self._spawn(child)

    def _turn(self, host: int) -> None:
        now = time.monotonic()
        waits = [c.restart_at - now for c in self._children.values() if c.restart_at is not None]
        timeout = max(0, int(min(waits) * 1000) + 1) if waits else None
        for fd, _ in self._poll.poll(timeout):
            if fd == self._ready:
                os.read(self._ready, 64)
                api = self._children["apiserver"]
                api.argv = [word for word in api.argv if word != _FRESH]
                self._report(progress="API ready")
                self._report(ready=True)
                self._add_clients(host)
            elif fd == self._wake:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 64)
            else:
                self._ended(next(c for c in self._children.values() if c.pidfd == fd))
        for child in self._children.values():
            if child.restart_at is not None and child.restart_at <= time.monotonic():
                child.restart_at = None
                self._spawn(child)

    def _ended(self, child: _Child) -> None:
        _, status = os.waitpid(child.pid, 0)
        self._poll.unregister(child.pidfd)
        os.close(child.pidfd)
        child.pid, child.pidfd = 0, -1
        (self._paths.pids / f"{child.name}.pid").unlink(missing_ok=True)
        if child.once:
            return
        now = time.monotonic()
        if now - child.started > _HEALTHY_S:
            child.backoff_s = _BACKOFF_MIN_S
        code = os.waitstatus_to_exitcode(status)
        self._note(f"{child.name} ended with {code}, starts again in {child.backoff_s:g}s")
        if child.name == "apiserver" and self._report_fd >= 0 and code == 1:
            log = self._paths.logs / "apiserver.log"
            why, hint = _last_words(log)
            self._report(
                error=f"the API server did not start{why and ': '}{why}", hint=hint or f"see {log}"
            )
            self._stopping = True
        child.restarts += 1
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        record = self._paths.pids / f"{child.name}.restarts"
        with contextlib.suppress(OSError):  # a full disk stops nothing
            running.write_atomically(record, f"{child.restarts} {stamp} {code}")
        child.restart_at = now + child.backoff_s
        child.backoff_s = min(child.backoff_s * 2, _BACKOFF_MAX_S)

    def _spawn(self, child: _Child) -> None:
        child.pid = linux.fork_into(linux.CLONE_NEWPID if child.pid_namespace else 0)
        if child.pid == 0:
            self._become(child)
        child.pidfd = os.pidfd_open(child.pid)
        child.started = time.monotonic()
        self._poll.register(child.pidfd, select.POLLIN)
        if not child.once:
            with contextlib.suppress(OSError):  # a full disk stops nothing
                running.write_atomically(self._paths.pids / f"{child.name}.pid", str(child.pid))

    def _become(self, child: _Child) -> None:
        """Turns the forked copy into the child; never returns."""
        try:
            linux.die_with_parent()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            if child.once:
                os.nice(19)
            null = os.open("/dev/null", os.O_RDWR)
            log = _open_log(self._paths.logs / f"{child.name}.log")
            for target, source in ((0, null), (1, log), (2, log)):
                os.dup2(source, target)
            for fd in child.fds:
                os.set_inheritable(fd, True)
            argv = running.command(*child.argv)
            os.execve(argv[0], argv, running.environment())
        except OSError as error:
            os.write(2, f"{child.name}: {error}\n".encode())
        finally:
            os._exit(127)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _end_children(self) -> None:
        """Ends the tree: containers at once, then those that write state, the API last."""
        for names, number in (
            (("compileall",), signal.SIGKILL),
            (("node", "controllers"), signal.SIGTERM),
            (("zygote",), signal.SIGKILL),
            (("apiserver",), signal.SIGTERM),
        ):
            running = [
                self._children[n] for n in names if n in self._children and self._children[n].pid
            ]
            for child in running:
                signal.pidfd_send_signal(child.pidfd, number)
            deadline = time.monotonic() + _CHILD_STOP_S
            for child in running:
                left = max(0.0, deadline - time.monotonic())
                if not select.select([child.pidfd], [], [], left)[0]:
                    signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
                os.waitpid(child.pid, 0)

    def _report(self, **message: Any) -> None:
        if self._report_fd < 0:
            return
        self._note(json.dumps(message))
        try:
            os.write(self._report_fd, json.dumps(message).encode() + b"\n")
        except OSError:
            self._report_fd = -1
            return
        if "ready" in message or "error" in message:
            os.close(self._report_fd)
            self._report_fd = -1

    def _note(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.write(2, f"{stamp} supervisor: {text}\n".encode())


def _last_words(log: Path) -> tuple[str, str]:
    """Returns the error with which a process ended, as its log tells it, and the hint."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "", ""
    hint = ""
    for line in reversed(lines[-2:]):
        if line.startswith("hint: "):
            hint = line.removeprefix("hint: ")
        if line.startswith("error: "):
            return line.removeprefix("error: "), hint
    return "", ""


def _sources() -> list[str]:
    """Returns the packages whose bytecode pods share: they cannot keep what they compile."""
    root = Path(running.PACKAGE_ROOT)
    known = [root / name for name in _OWN_PACKAGES]
    known += [Path(folder) / name for folder in sys.path for name in _LIBRARIES]
    return [str(folder) for folder in dict.fromkeys(known) if folder.is_dir()]


def _open_log(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_BYTES_MAX:
            path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def main(argv: list[str]) -> int:
    """Runs the supervisor: `tree STATE LISTENER REPORT LOCK` (descriptors)."""
    state, *descriptors = argv
    listener, report, lock = map(int, descriptors)
    for fd in (listener, report, lock):
        os.set_inheritable(fd, False)

    def inside(outside: int) -> int:
        return Supervisor(Paths(Path(state)), listener, report, lock).run(outside)

    return inside(-1) if os.geteuid() == 0 else unprivileged.run((listener, report, lock), inside)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
