"""The zygote: PID 1 of the pods' PID namespace; starts containers and holds them.

    node ── unix SOCK_SEQPACKET, one JSON object per packet, file descriptors beside it ── zygote
                                                                       ├── container (own PID 1)
                                                                       └── container …

requests                                            answers and events
    list                                                pod* (with netns fd), container*, listed
    hold      pod, data (+ netns fd)                    –
    release   pod                                       –
    start     id, pod, … (see `sandbox`)                started | failed, later exited
    exec      id, container, argv, … (+ 3 fds, or with  started | failed, later exited
              tty 1 socket: it is sent the terminal)
    signal    id, signal                                –
    forget    id                                        –
    stdin     id                                        stdin (+ fd when there is one)
    watch     id (+ fd)                                 –; a terminal's output is copied to fd

It is single-threaded, imports little and decides nothing. It outlives the node: what happens while
no node is connected is kept and listed. Its end ends every container.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import gc
import json
import os
import select
import shutil
import signal
import socket
import stat
import sys
import termios
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from linkerd.local.node import linux, sandbox
from linkerd.local.node.logfile import LineSplitter, LogFile
from linkerd.local.node.users import Users, here

#: Largest packet in either direction; a container's environment has to fit.
PACKET_BYTES_MAX = 1 << 20
#: Events that wait for a slow node before it is disconnected (it lists again).
EVENTS_QUEUED_MAX = 4096
_READ_BYTES = 65536
_FDS_MAX = 4096
#: What a terminal showed before anybody watched is kept to this size, for the first who does.
_SHOWN_BYTES_MAX = 4096
#: How many may watch one terminal.
_WATCHERS_MAX = 16
_ALL_NAMESPACES = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
)

Message = dict[str, Any]


class _Process:
    """A container's PID 1, or a process that was started in a container."""

    def __init__(self, id: str, pod: str, data: Message) -> None:
        self.id = id
        self.pod = pod
        self.data = data
        self.pid = 0
        self.launching = True
        self.started_ns = 0
        self.exit: Message | None = None
        self.error: str | None = None
        self.stdin = -1
        self.log: LogFile | None = None
        self.streams = 0
        self.terminal: socket.socket | None = None
        self.shown = b""
        self.watchers: list[int] = []

    def show(self, data: bytes) -> None:
        """Copies a terminal's output to those who watch it; no bytes mean its end.

        A pipe that is full loses what does not fit: a watcher that stalls holds up nobody.
        """
        if not self.watchers:
            self.shown = (self.shown + data)[-_SHOWN_BYTES_MAX:]
        for fd in list(self.watchers):
            broken = not data
            try:
                os.write(fd, data)
            except BlockingIOError:
                continue
            except OSError:
                broken = True
            if broken:
                self.watchers.remove(fd)
                os.close(fd)

    def state(self) -> Message:
        return {
            "event": "container",
            "id": self.id,
            "pod": self.pod,
            "pid": self.pid,
            "started_ns": self.started_ns,
            "exit": self.exit,
            "error": self.error,
            "data": self.data,
        }


class Zygote:
    """The loop: one listening socket, at most one node, many processes."""

    def __init__(self, path: str, scratch: str, memory: str) -> None:
        self._scratch = scratch
        self._memory = memory
        self._users = here()
        self._own_pid_ns = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._processes: dict[str, _Process] = {}
        self._by_pid: dict[int, _Process] = {}
        self._pods: dict[str, tuple[int, Message]] = {}
        self._node: socket.socket | None = None
        self._events: deque[tuple[Message, list[int]]] = deque()
        self._epoll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._listener = _listen(path)
        self._watch(self._listener.fileno(), self._accept)
        wake, self._wake = socket.socketpair()
        for end in (wake, self._wake):
            end.setblocking(False)
        self._woken = wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._watch(wake.fileno(), self._reap)

    def run(self) -> None:
        """Serves until it is killed."""
        gc.collect()
        gc.freeze()
        while True:
            for fd, _ in self._epoll.poll():
                ready = self._ready.get(fd)
                if ready is not None:
                    ready()

    def _watch(self, fd: int, ready: Callable[[], None]) -> None:
        self._ready[fd] = ready
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._ready.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._drop_node()
        connection.setblocking(False)
        _enlarge(connection)
        self._node = connection
        self._watch(connection.fileno(), self._receive)

    def _drop_node(self) -> None:
        if self._node is not None:
            self._unwatch(self._node.fileno())
            self._node.close()
            self._node = None
            self._events.clear()

    def _receive(self) -> None:
        if self._node is None:
            return
        self._flush()
        try:
            data, fds = receive(self._node)
        except BlockingIOError:
            return
        except OSError:
            self._drop_node()
            return
        if not data:
            self._drop_node()
            return
        try:
            message = json.loads(data)
            self._handle(message, fds)
        except (ValueError, KeyError, TypeError, OSError) as error:
            self._send({"event": "refused", "error": f"{type(error).__name__}: {error}"})
        finally:
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _handle(self, message: Message, fds: list[int]) -> None:
        match message["op"]:
            case "list":
                for uid, (fd, data) in self._pods.items():
                    self._send({"event": "pod", "pod": uid, "data": data}, [fd])
                for process in self._processes.values():
                    self._send(process.state())
                self._send({"event": "listed"})
            case "hold":
                self._release(message["pod"])
                self._pods[message["pod"]] = (os.dup(fds[0]), message["data"])
            case "release":
                self._release(message["pod"])
                shutil.rmtree(os.path.join(self._memory, message["pod"]), ignore_errors=True)
            case "start":
                self._start(message)
            case "exec":
                self._exec(message, fds)
            case "signal":
                self._signal(message["id"], message["signal"])
            case "forget":
                self._forget(message["id"])
            case "stdin":
                process = self._processes[message["id"]]
                fds_out = [process.stdin] if process.stdin >= 0 else []
                self._send({"event": "stdin", "id": process.id}, fds_out)
                if message.get("close") and process.stdin >= 0:
                    os.close(process.stdin)
                    process.stdin = -1
            case "watch":
                self._add_watcher(self._processes[message["id"]], fds[0])
            case other:
                raise ValueError(f"unknown request {other}")

    def _signal(self, id: str, number: int) -> None:
        process = self._processes.get(id)
        if process is not None and process.pid and process.exit is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def _release(self, pod: str) -> None:
        held = self._pods.pop(pod, None)
        if held is not None:
            os.close(held[0])

    def _forget(self, id: str) -> None:
        process = self._processes.get(id)
        if process is not None and process.exit is not None:
            del self._processes[id]
            if process.stdin >= 0:
                os.close(process.stdin)

    def _start(self, spec: Message) -> None:
        process = _Process(spec["id"], spec["pod"], spec["data"])
        netns = self._pods[spec["pod"]][0] if spec["pod"] in self._pods else -1
        for item in spec["mounts"]:
            if item.get("memory"):
                item["source"] = os.path.join(self._memory, spec["pod"], item["memory"])
                os.makedirs(item["source"], exist_ok=True)
                os.chmod(item["source"], 0o777)  # noqa: S103 (as kubelet's emptyDir)
                if item.get("sub_path"):
                    item["source"] = os.path.join(item["source"], item["sub_path"])
                    os.makedirs(item["source"], exist_ok=True)
        process.log = LogFile(spec["log"])
        if spec.get("tty"):
            self._start_on_terminal(process, spec, netns)
            return
        out, err = _pipe(), _pipe()
        stdin = _pipe() if spec["stdin"] else (os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1)
        child, failure = self._fork_first(
            lambda _: self._become_container(spec, netns, (stdin[0], out[1], err[1]))
        )
        for fd in (stdin[0], out[1], err[1]):
            os.close(fd)
        process.stdin = stdin[1]
        process.streams = 2
        for fd, name in ((out[0], "stdout"), (err[0], "stderr")):
            self._watch_stream(process, fd, name)
        self._register(process, child, failure)

    def _start_on_terminal(self, process: _Process, spec: Message, netns: int) -> None:
        """Starts a container whose stdio is a terminal of its own /dev/pts."""
        process.terminal, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child, failure = self._fork_first(
            lambda _: self._become_container(spec, netns, (inner.fileno(),))
        )
        inner.close()
        process.streams = 1
        self._register(process, child, failure)

    def _fork_first(self, become: Callable[[int], None]) -> tuple[int, int]:
        """Forks into a new PID namespace."""
        linux.unshare(linux.CLONE_NEWPID)
        try:
            return self._fork(become)
        finally:
            linux.setns(self._own_pid_ns, linux.CLONE_NEWPID)

    def _become_container(self, spec: Message, netns: int, stdio: tuple[int, ...]) -> None:
        os.setsid()
        if netns >= 0:
            linux.setns(netns, linux.CLONE_NEWNET)
        sandbox.enter(spec, self._scratch, self._users)
        _exec(spec, stdio, self._users)

    def _exec(self, spec: Message, fds: list[int]) -> None:
        target = self._processes.get(spec["container"])
        if target is None or target.exit is not None or not target.pid:
            error = f"container {spec['container']} is not running"
            self._send({"event": "failed", "id": spec["id"], "error": error})
            return
        process = _Process(spec["id"], target.pod, {"exec": True})
        pidfd = os.pidfd_open(target.pid)
        child, failure = self._fork(
            lambda report: _join(spec, pidfd, report, tuple(fds), self._users)
        )
        os.close(pidfd)
        self._register(process, child, failure)

    def _fork(self, become: Callable[[int], None]) -> tuple[int, int]:
        """Forks; the child runs `become`, which must end in exec. The pipe tells of failure."""
        failure, report = _pipe()
        child = os.fork()
        if child == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                become(report)
            except (OSError, KeyError, ValueError) as error:
                os.write(report, f"{error}".encode()[:4000])
            finally:
                os._exit(127)
        os.close(report)
        return child, failure

    def _register(self, process: _Process, child: int, failure: int) -> None:
        process.pid = child
        process.started_ns = time.time_ns()
        self._processes[process.id] = process
        self._by_pid[child] = process
        self._watch(failure, lambda: self._launched(process, failure))

    def _launched(self, process: _Process, failure: int) -> None:
        """The report pipe was closed by exec (success) or carries an error."""
        text = os.read(failure, 4096).decode("utf-8", "replace")
        self._unwatch(failure)
        os.close(failure)
        process.launching = False
        if process.terminal is not None:
            self._take_terminal(process, process.terminal)
        if text:
            process.error = text
            self._send({"event": "failed", "id": process.id, "error": text})
        else:
            self._send(
                {
                    "event": "started",
                    "id": process.id,
                    "pid": process.pid,
                    "started_ns": process.started_ns,
                }
            )
        self._finish(process)

    def _watch_stream(self, process: _Process, fd: int, name: str) -> None:
        splitter = LineSplitter("stdout" if name == "tty" else name)

        def ready() -> None:
            try:
                data = os.read(fd, _READ_BYTES)
            except OSError:  # how a terminal tells its end
                data = b""
            assert process.log is not None
            if data:
                process.log.write(splitter.feed(data, time.time_ns()))
                if name == "tty":
                    process.show(data)
                return
            process.log.write(splitter.end(time.time_ns()))
            self._unwatch(fd)
            os.close(fd)
            process.streams -= 1
            if process.streams == 0:
                process.log.close()
            process.show(b"")

        self._watch(fd, ready)

    def _take_terminal(self, process: _Process, connection: socket.socket) -> None:
        """Receives the terminal that the container made before exec, if it came so far."""
        process.terminal = None
        connection.setblocking(False)
        fds: list[int] = []
        with contextlib.suppress(OSError):
            _, fds = receive(connection)
        connection.close()
        if fds:
            process.stdin = os.dup(fds[0])
            os.set_blocking(fds[0], False)
            self._watch_stream(process, fds[0], "tty")
        elif process.log is not None:
            process.streams = 0
            process.log.close()

    def _add_watcher(self, process: _Process, fd: int) -> None:
        if process.streams == 0 or len(process.watchers) >= _WATCHERS_MAX:
            return
        own = os.dup(fd)
        os.set_blocking(own, False)
        process.watchers.append(own)
        shown, process.shown = process.shown, b""
        if shown:
            process.show(shown)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self._by_pid.pop(pid, None)
            if process is not None:
                code = os.waitstatus_to_exitcode(status)
                process.exit = {
                    "code": code if code >= 0 else 128 - code,
                    "signal": max(0, -code),
                    "at_ns": time.time_ns(),
                }
                self._finish(process)

    def _finish(self, process: _Process) -> None:
        """Reports the end once both the report pipe and the exit are in."""
        if process.exit is None or process.launching:
            return
        if process.error is None:
            self._send({"event": "exited", "id": process.id, **process.exit})
        if process.data.get("exec"):
            self._processes.pop(process.id, None)

    def _send(self, message: Message, fds: list[int] | None = None) -> None:
        if self._node is None:
            return
        if len(self._events) >= EVENTS_QUEUED_MAX:
            self._drop_node()
            return
        self._events.append((message, list(fds or ())))
        self._flush()

    def _flush(self) -> None:
        while self._events and self._node is not None:
            message, fds = self._events[0]
            try:
                send(self._node, message, fds)
            except BlockingIOError:
                self._epoll.modify(self._node.fileno(), select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError:
                self._drop_node()
                return
            self._events.popleft()
            if not self._events:
                self._epoll.modify(self._node.fileno(), select.EPOLLIN)


def send(connection: socket.socket, message: Message, fds: list[int]) -> None:
    """Sends one packet.

    Raises:
        BlockingIOError: the peer's queue is full.
        OSError: the connection is gone, or the message is larger than a packet.
    """
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > PACKET_BYTES_MAX:
        raise OSError(errno.EMSGSIZE, f"{message.get('op')}: {len(data)} bytes do not fit a packet")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connection.sendmsg([data], rights)


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Receives one packet and its descriptors (close-on-exec); no bytes mean the end.

    Raises:
        BlockingIOError: there is none now.
        OSError: the connection is gone.
    """
    space = socket.CMSG_SPACE(8 * array.array("i").itemsize)
    data, ancillary, _, _ = connection.recvmsg(PACKET_BYTES_MAX, space, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data, list(fds)


def connect(path: str) -> socket.socket:
    """Returns a connection to the zygote that listens at `path`, in blocking mode.

    Raises:
        OSError: nobody listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short(path) as short:
            connection.connect(short)
    except OSError:
        connection.close()
        raise
    _enlarge(connection)
    return connection


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with _short(path) as short:
        listener.bind(short)
    os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
    listener.listen(4)
    return listener


@contextlib.contextmanager
def _short(path: str) -> Any:
    """Names a socket through a descriptor of its folder, because names end at 107 bytes."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def _enlarge(connection: socket.socket) -> None:
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, 2 * PACKET_BYTES_MAX)
    with contextlib.suppress(OSError):
        so_sndbufforce = 32
        connection.setsockopt(socket.SOL_SOCKET, so_sndbufforce, 2 * PACKET_BYTES_MAX)


def _pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC)


def _join(spec: Message, pidfd: int, report: int, stdio: tuple[int, ...], users: Users) -> None:
    """Runs a command in a container: joins it, forks into its PID namespace, passes on the end."""
    linux.setns(pidfd, _ALL_NAMESPACES)
    inner = os.fork()
    if inner:
        os.closerange(0, max(report, *stdio, _FDS_MAX) + 1)
        _, status = os.waitpid(inner, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    os.setsid()
    os.chdir(spec["cwd"])
    _exec(spec, stdio, users)


def _exec(spec: Message, stdio: tuple[int, ...], users: Users) -> None:
    """Installs stdio, drops rights and executes; only returns by raising."""
    if spec.get("tty"):
        stdio = _terminal(stdio[0])
    for number, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in stdio]):
        os.dup2(fd, number)
        with contextlib.suppress(OSError):
            os.fchown(number, spec["uid"], -1)
    if spec.get("tty"):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sandbox.drop_rights(spec, users)
    if "container" in spec:
        linux.die_with_parent()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    argv, env = spec["argv"], spec["env"]
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        raise OSError(f"exec {argv[0]}: {error.strerror}") from None


def _terminal(connection: int) -> tuple[int, ...]:
    """Opens a terminal of the container's /dev/pts and sends its other side away."""
    master, slave = os.openpty()
    with socket.socket(fileno=connection) as there:
        there.sendmsg([b"t"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))])
    os.close(master)
    return slave, slave, slave


def main(argv: list[str]) -> int:
    """Serves as the zygote of a state folder: `zygote.py <state>/node`."""
    folder = argv[1]
    scratch, memory = os.path.join(folder, "root"), os.path.join(folder, "memory")
    for path in (scratch, memory):
        os.makedirs(path, mode=0o700, exist_ok=True)
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", memory, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0700")
    Zygote(os.path.join(folder, "zygote.sock"), scratch, memory).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
