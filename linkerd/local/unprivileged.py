"""A cluster of an ordinary user: a user namespace around its processes, one process outside of it.

    linkerd local start ── outside     stays in the user's own namespaces: makes sockets in the host's
                            │          network, writes the map of users; keeps nothing open
                            └── supervisor    root of its own user namespace, and all that follows

The user namespace maps the user to 0 and, where `newuidmap` is installed and /etc/subuid has a
range for the user, that range to 1 …; otherwise there is one user only (see `node.users`).
Source: user_namespaces(7), newuidmap(1), subuid(5).
"""

from __future__ import annotations

import errno
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from linkerd.errors import LocalError
from linkerd.local.node import linux, outside, users

_MAP = b"m"
_RANGE_MAX = 1 << 16


def run(keep: tuple[int, ...], inside: Callable[[int], int]) -> int:
    """Runs `inside` in a user namespace and serves it from outside; returns its exit code.

    Args:
        keep: Descriptors that belong inside; they are closed here.
        inside: Is given a socket for `Outside`. Its end, however it comes, ends the rest.

    Raises:
        LocalError: in the inner process, when the kernel does not allow user namespaces.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ours.close()
            linux.die_with_parent()
            if os.getppid() == parent:
                code = inside(theirs.fileno())
        finally:
            os._exit(code)
    theirs.close()
    for fd in keep:
        os.close(fd)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):  # the supervisor's end is ours
        signal.signal(number, lambda got, _: os.kill(child, got))
    return _serve(ours, child)


def enter(there: int) -> None:
    """Moves this process into a new user namespace, in which it is root.

    Args:
        there: The socket that `run` gave.

    Raises:
        LocalError: the kernel does not allow it; the hint says what would.
    """
    uid, gid = os.getuid(), os.getgid()
    try:
        linux.unshare(linux.CLONE_NEWUSER)
    except OSError as error:
        raise refused(error) from error
    with socket.socket(fileno=os.dup(there)) as outer:
        outer.send(_MAP)
        mapped = outer.recv(16) == b"+"
    try:
        if not mapped:
            users.map_one(0, uid, 0, gid)
        linux.die_with_parent()
        # Probed here, so that what a distribution forbids is told in one sentence.
        linux.unshare(linux.CLONE_NEWNS)
    except OSError as error:
        raise refused(error) from error


def refused(error: OSError) -> LocalError:
    """Returns why an ordinary user cannot run a cluster here, and what to do."""
    hint = "run it with sudo"
    if _read("/proc/sys/user/max_user_namespaces") == "0" or error.errno == errno.ENOSPC:
        hint = "sudo sysctl -w user.max_user_namespaces=10000 allows them; or run it with sudo"
    elif _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        hint = "sudo sysctl -w kernel.unprivileged_userns_clone=1 allows them; or run it with sudo"
    elif _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        name = "kernel.apparmor_restrict_unprivileged_userns"
        hint = f"sudo sysctl -w {name}=0 allows them; or run it with sudo"
    text = os.strerror(error.errno or 0).lower()
    return LocalError(f"this system refuses user namespaces to ordinary users: {text}", hint=hint)


def remove(folder: Path) -> None:
    """Removes a folder with files of any user of the cluster.

    Raises:
        OSError: a file cannot be removed.
    """
    if not folder.exists():
        return
    try:
        shutil.rmtree(folder)
    except PermissionError:
        if os.geteuid() == 0:
            raise
        # Files of the range's users: only the user namespace's root may remove them.
        command = [sys.executable, "-m", __name__, str(folder)]
        done = subprocess.run(command, check=False, env=_own_environment())
        if done.returncode:
            raise


def _own_environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, "PYTHONSAFEPATH": "1"}


def _serve(ours: socket.socket, child: int) -> int:
    pidfd = os.pidfd_open(child)
    while True:
        ready, _, _ = select.select([ours.fileno(), pidfd], [], [])
        if pidfd in ready:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF
        if ours.recv(1, socket.MSG_PEEK) == _MAP:
            ours.recv(16)
            ours.send(b"+" if _map_range(child) else b"-")
        else:
            outside.answer(ours)


def _map_range(child: int) -> bool:
    """Maps this user and its range into the child's user namespace; False without a range."""
    uid, gid = os.getuid(), os.getgid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    plans = []
    for tool, table, own in (
        ("newuidmap", "/etc/subuid", uid),
        ("newgidmap", "/etc/subgid", gid),
    ):
        found = users.subordinate(_read(table), name, uid)
        program = shutil.which(tool)
        if found is None or program is None:
            return False
        first, count = found
        numbers = (0, own, 1, 1, first, min(count, _RANGE_MAX))
        plans.append([program, str(child), *map(str, numbers)])
    return all(
        subprocess.run(plan, check=False, capture_output=True).returncode == 0 for plan in plans
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def main(argv: list[str]) -> int:
    """Removes a folder as the cluster's root: `unprivileged FOLDER`."""

    def inside(there: int) -> int:
        enter(there)
        shutil.rmtree(argv[0])
        return 0

    return run((), inside)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
