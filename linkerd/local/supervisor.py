"""One local cluster as a process tree: started, kept alive, and ended without a trace.

    start()  ── CLI's process: root? running already? port free? then
        └── supervisor    lock, host listener; enters a network namespace of its own (the node's)
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
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linkerd.errors import LocalError
from linkerd.local.node import link, linux
from linkerd.local.paths import (
    DNS_SERVICE_IP,
    NODE_API_PORT,
    NODE_IP,
    SERVICE_CIDR,
    Paths,
)

DEFAULT_PORT = 6443
#: How many ports after the default are tried when the user names none.
PORTS_TRIED = 100
#: What a running cluster does not do and nobody would see otherwise.
NOTES = ("resource limits and the sizes of volumes are not enforced",)
_READY_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 15.0
_CHILD_STOP_S = 5.0
_BACKOFF_MIN_S, _BACKOFF_MAX_S = 0.1, 5.0
_HEALTHY_S = 10.0
#: Tells the first API server of a run that the last run's containers are gone.
_FRESH = "--fresh"
_LOG_BYTES_MAX = 5 * 1024 * 1024
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])

_OWN_PACKAGES = ("linkerd", "demo")
_LIBRARIES = (
    "anyio", "click", "cryptography", "google", "grpc", "h11", "httpcore2", "httpx2", "idna",
    "msgspec", "prometheus_client", "starlette", "uvicorn", "wsproto", "yaml",
)  # fmt: skip

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Status:
    """What runs of a cluster; `port` is 0 and `processes` empty when nothing does."""

    running: bool
    port: int = 0
    processes: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def start(
    paths: Paths, images: Mapping[str, Any], port: int | None = None, progress: Progress = print
) -> None:
    """Starts a cluster in the background and returns when its API answers.

    Args:
        paths: Of the cluster; made if need be.
        images: The image table: name → entrypoint, cmd, env, user.
        port: Of the API on 127.0.0.1; None takes the last one used, else the first free from 6443.
        progress: Called with a phrase for each step.

    Raises:
        LocalError: not root, running already, port in use, or a part did not come up; nothing
            that was not there before is left behind.
    """
    if os.geteuid() != 0:
        raise LocalError(
            "linkerd local needs root to make namespaces and mounts", hint="run it with sudo"
        )
    fresh = not paths.state.exists()
    try:
        for folder in (paths.state, paths.logs, paths.pids):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LocalError(f"state folder {paths.state} cannot be made: {error.strerror}") from error
    lock = _lock(paths)
    try:
        with contextlib.closing(_listen(paths, port)) as listener:
            _write_atomically(paths.images_table, json.dumps(images, indent=1))
            _launch(paths, listener, lock, progress)
    except LocalError:
        os.close(lock)
        _clean(paths)
        if fresh:
            shutil.rmtree(paths.state, ignore_errors=True)
        raise
    os.close(lock)


def stop(paths: Paths) -> bool:
    """Ends a cluster: no process, namespace, mount, rule or socket is left; its state stays.

    Returns:
        Whether anything ran.

    Raises:
        LocalError: it runs as another user, or does not end.
    """
    if not paths.pids.exists():
        return False
    pid = _supervisor_pid(paths)
    if pid:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            pidfd = -1
        if pidfd >= 0:
            _end(pidfd, pid)
    _clean(paths)
    return bool(pid)


def status(paths: Paths) -> Status:
    """Returns what runs of a cluster."""
    pid = _supervisor_pid(paths) if paths.pids.exists() else 0
    if not pid:
        return Status(False)
    processes = {"supervisor": pid}
    for file in sorted(paths.pids.glob("*.pid")):
        number = _read_number(file)
        if number and Path(f"/proc/{number}").exists():
            processes[file.stem] = number
    return Status(True, _read_number(paths.pids / "port"), processes, NOTES)


def delete(paths: Paths) -> None:
    """Stops a cluster and removes its state.

    Raises:
        LocalError: it does not end, or its files cannot be removed.
    """
    stop(paths)
    try:
        if paths.state.exists():
            shutil.rmtree(paths.state)
    except OSError as error:
        raise LocalError(f"state folder {paths.state} cannot be removed: {error}") from error


def _lock(paths: Paths) -> int:
    """Returns a descriptor that holds the cluster's lock as long as any copy of it is open."""
    fd = os.open(paths.pids / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        port = _read_number(paths.pids / "port")
        raise LocalError(
            f"local cluster {paths.state.name} runs already, on port {port}",
            hint="`linkerd local stop` ends it",
        ) from None
    return fd


def _supervisor_pid(paths: Paths) -> int:
    """Returns the running supervisor's process id, 0 if none holds the lock."""
    try:
        fd = os.open(paths.pids / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    except PermissionError as error:
        raise LocalError(
            f"local cluster {paths.state.name} belongs to another user", hint="use sudo"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_number(paths.pids / "supervisor.pid")
    finally:
        os.close(fd)
    return 0


def _listen(paths: Paths, port: int | None) -> socket.socket:
    wanted = [port] if port is not None else []
    if port is None:
        last = _read_number(paths.state / "port")
        wanted = [last] if last else []
        wanted += range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED)
    for number in wanted:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", number))
            listener.listen(512)
        except OSError as error:
            listener.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise LocalError(f"cannot listen on 127.0.0.1:{number}: {error}") from error
            continue
        return listener
    if port is not None:
        raise LocalError(
            f"port {port} of 127.0.0.1 is in use",
            hint="choose another with --port, or leave it out",
        )
    raise LocalError(f"ports {DEFAULT_PORT} to {DEFAULT_PORT + PORTS_TRIED - 1} are all in use")


def _launch(paths: Paths, listener: socket.socket, lock: int, progress: Progress) -> None:
    port = listener.getsockname()[1]
    _write_atomically(paths.state / "port", str(port))
    _write_atomically(paths.pids / "port", str(port))
    reader, writer = os.pipe()
    descriptors = (listener.fileno(), writer, lock)
    with open(paths.logs / "supervisor.log", "ab") as output:
        process = subprocess.Popen(
            _python("linkerd.local.supervisor", str(paths.state), *map(str, descriptors)),
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
    os.close(writer)
    try:
        _follow(reader, process, progress)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        raise
    finally:
        os.close(reader)
    process.returncode = 0  # it goes on by itself: no warning about an unfinished child


def _follow(reader: int, process: subprocess.Popen[bytes], progress: Progress) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    buffer = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise LocalError(f"the API did not answer within {_READY_TIMEOUT_S:.0f}s")
        data = os.read(reader, 4096)
        if not data:
            raise LocalError("the supervisor ended early", hint="see logs/supervisor.log")
        buffer += data
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                raise LocalError(message["error"], hint=message.get("hint"))
            if "ready" in message:
                return
            progress(message["progress"])


def _end(pidfd: int, pid: int) -> None:
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                signal.pidfd_send_signal(pidfd, number)
            except ProcessLookupError:
                return
            except PermissionError as error:
                raise LocalError(f"process {pid} belongs to another user", hint="sudo") from error
            if select.select([pidfd], [], [], _STOP_TIMEOUT_S)[0]:
                return
    finally:
        os.close(pidfd)
    raise LocalError(f"process {pid} does not end")


def _clean(paths: Paths) -> None:
    """Removes what only means something while the cluster runs."""
    for file in (
        paths.node_sock,
        paths.state / "node" / "zygote.sock",
        *paths.pids.glob("*"),
    ):
        with contextlib.suppress(OSError):
            file.unlink()
    for folder in ("root", "memory", "pods"):
        shutil.rmtree(paths.state / "node" / folder, ignore_errors=True)


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
        self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._ready, self._ready_writer = os.pipe2(os.O_CLOEXEC)
        self._wake, wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def run(self) -> int:
        """Runs the cluster until it is told to stop; returns the exit code."""
        _write_atomically(self._paths.pids / "supervisor.pid", str(os.getpid()))
        host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            linux.unshare(linux.CLONE_NEWNET)
            link.prepare_node(NODE_IP, DNS_SERVICE_IP, SERVICE_CIDR)
            inside = socket.create_server((NODE_IP, NODE_API_PORT), backlog=512)
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
        _clean(self._paths)
        return 0

    def _add_clients(self, host: int) -> None:
        if "node" in self._children:
            return
        state = f"--state={self._paths.state}"
        self._add(_Child("node", ["linkerd.local.node", state, f"--host-netns-fd={host}"], (host,)))
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
            self._report(
                error="the API server did not start",
                hint=f"see {self._paths.logs / 'apiserver.log'}",
            )
            self._stopping = True
        child.restart_at = now + child.backoff_s
        child.backoff_s = min(child.backoff_s * 2, _BACKOFF_MAX_S)

    def _spawn(self, child: _Child) -> None:
        if child.pid_namespace:
            linux.unshare(linux.CLONE_NEWPID)
        try:
            child.pid = os.fork()
            if child.pid == 0:
                self._become(child)
        finally:
            if child.pid_namespace:
                linux.setns(self._own_pid_namespace, linux.CLONE_NEWPID)
        child.pidfd = os.pidfd_open(child.pid)
        child.started = time.monotonic()
        self._poll.register(child.pidfd, select.POLLIN)
        if not child.once:
            _write_atomically(self._paths.pids / f"{child.name}.pid", str(child.pid))

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
            argv = _python(*child.argv)
            os.execve(argv[0], argv, _environment())
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


def _python(module: str, *args: str) -> list[str]:
    return [sys.executable, "-m", module, *args]


def _sources() -> list[str]:
    """Returns the packages whose bytecode pods share: they cannot keep what they compile."""
    root = Path(_PACKAGE_ROOT)
    known = [root / name for name in _OWN_PACKAGES]
    known += [Path(folder) / name for folder in sys.path for name in _LIBRARIES]
    return [str(folder) for folder in dict.fromkeys(known) if folder.is_dir()]


def _environment() -> dict[str, str]:
    """Returns the children's environment: enough to find Python and this package."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TZ")}
    return {**kept, "PYTHONPATH": _PACKAGE_ROOT, "PYTHONSAFEPATH": "1"}


def _open_log(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_BYTES_MAX:
            path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _write_atomically(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def main(argv: list[str]) -> int:
    """Runs the supervisor: `supervisor STATE LISTENER REPORT LOCK` (descriptors)."""
    state, *descriptors = argv
    listener, report, lock = map(int, descriptors)
    for fd in (listener, report, lock):
        os.set_inheritable(fd, False)
    return Supervisor(Paths(Path(state)), listener, report, lock).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
