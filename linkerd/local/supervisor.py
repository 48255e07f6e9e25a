"""A local cluster as its user sees it: started, looked at, stopped, deleted.

start()  ── running already? port free? then
    └── tree    the cluster's processes; keeps the lock, and the listener that was opened here
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
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linkerd.errors import LocalError
from linkerd.local import running, unprivileged
from linkerd.local.paths import Paths

DEFAULT_PORT = 6443
#: How many ports after the default are tried when the user names none.
PORTS_TRIED = 100
#: What a running cluster does not do and nobody would see otherwise.
NOTES = ("resource limits and the sizes of volumes are not enforced",)
_READY_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 15.0
_DISK_LOW_BYTES = 64 << 20

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
        LocalError: running already, port in use, or a part did not come up; nothing
            that was not there before is left behind.
    """
    fresh = not paths.state.exists()
    try:
        for folder in (paths.state, paths.logs, paths.pids):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LocalError(f"state folder {paths.state} cannot be made: {error.strerror}") from error
    lock = _lock(paths)
    try:
        with contextlib.closing(_listen(paths, port)) as listener:
            running.write_atomically(paths.images_table, json.dumps(images, indent=1))
            _launch(paths, listener, lock, progress)
    except LocalError:
        os.close(lock)
        running.clean(paths)
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
        outside = _pidfd(running.read_number(paths.pids / "outside.pid"))
        pidfd = _pidfd(pid)
        if pidfd >= 0:
            _end(pidfd, pid)
        if outside >= 0:  # ends with the supervisor, a moment later
            select.select([outside], [], [], _STOP_TIMEOUT_S)
            os.close(outside)
    running.clean(paths)
    return bool(pid)


def status(paths: Paths) -> Status:
    """Returns what runs of a cluster."""
    pid = _supervisor_pid(paths) if paths.pids.exists() else 0
    if not pid:
        return Status(False)
    processes = {"supervisor": pid}
    for file in sorted(paths.pids.glob("*.pid")):
        number = running.read_number(file)
        if number and Path(f"/proc/{number}").exists():
            processes[file.stem] = number
    notes = [*NOTES, *running.read_lines(paths.pids / "node.notes")]
    free = os.statvfs(paths.state)
    if free.f_bavail * free.f_frsize < _DISK_LOW_BYTES:
        notes.append(f"the disk of {paths.state} is nearly full: writes will fail")
    return Status(True, running.read_number(paths.pids / "port"), processes, tuple(notes))


def resident_kib(pid: int) -> int:
    """Returns the memory that a process occupies, shared pages included; 0 when it is gone."""
    for line in running.read_lines(Path(f"/proc/{pid}/status")):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def restarts(paths: Paths, process: str) -> str:
    """Returns how often a process was started again, then when and how it ended; "" for never."""
    return "".join(running.read_lines(paths.pids / f"{process}.restarts"))


def delete(paths: Paths) -> None:
    """Stops a cluster and removes its state.

    Raises:
        LocalError: it does not end, or its files cannot be removed.
    """
    stop(paths)
    try:
        if paths.state.exists():
            unprivileged.remove(paths.state)
    except OSError as error:
        raise LocalError(f"state folder {paths.state} cannot be removed: {error}") from error


def _lock(paths: Paths) -> int:
    """Returns a descriptor that holds the cluster's lock as long as any copy of it is open."""
    fd = os.open(paths.pids / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        port = running.read_number(paths.pids / "port")
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
        return running.read_number(paths.pids / "supervisor.pid")
    finally:
        os.close(fd)
    return 0


def _listen(paths: Paths, port: int | None) -> socket.socket:
    wanted = [port] if port is not None else []
    if port is None:
        last = running.read_number(paths.state / "port")
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
    running.write_atomically(paths.state / "port", str(port))
    running.write_atomically(paths.pids / "port", str(port))
    reader, writer = os.pipe()
    descriptors = (listener.fileno(), writer, lock)
    with open(paths.logs / "supervisor.log", "ab") as output:
        process = subprocess.Popen(
            running.command("linkerd.local.tree", str(paths.state), *map(str, descriptors)),
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=running.environment(),
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


def _pidfd(pid: int) -> int:
    """Returns a descriptor of a process, -1 when there is none."""
    try:
        return os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return -1


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
