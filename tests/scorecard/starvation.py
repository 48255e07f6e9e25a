"""R16: without descriptors, memory, time or disk the proxy sheds, and recovers."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tests.scorecard.mesh import HTTP, SERVER_IP, SERVICE_IP, Mesh
from tests.scorecard.rows import Line, at_most, exactly

FILES = 128
CONNECTIONS = 400
RECOVERED_S = 5.0
_ROOT = Path("/sys/fs/cgroup")
# File and value in version 2 and 1 of control groups.
_LIMITS = {
    "memory": (("memory.max", str(32 << 20)), ("memory.limit_in_bytes", str(32 << 20))),
    "cpu": (("cpu.max", "5000 100000"), ("cpu.cfs_quota_us", "5000")),
}


def check() -> Iterator[Line]:
    """One kind of starvation after the other, each on a fresh proxy."""
    yield from _descriptors()
    yield from _disk()
    yield from _groups()


def _descriptors() -> Iterator[Line]:
    with Mesh(wrap=("prlimit", f"--nofile={FILES}:{FILES}")) as mesh:
        peers: list[socket.socket] = []
        for _ in range(CONNECTIONS):
            with contextlib.suppress(OSError):
                peer = mesh.outside.connect(SERVER_IP, HTTP, 1.0)
                peer.sendall(b"GET /sleep/500 HTTP/1.1\r\nHost: w\r\n\r\n")
                peers.append(peer)
        time.sleep(2.0)
        for peer in peers:
            peer.close()
        yield at_most("R16", "descriptors-recovered", _recovery(mesh), "s", RECOVERED_S)
        yield exactly("R16", "descriptors-crashed", int(not mesh.alive()), "proxies", 0)


def _disk() -> Iterator[Line]:
    """Nothing can be written to the log."""
    full = ("sh", "-c", 'exec "$0" "$@" >/dev/full 2>&1')
    with Mesh(wrap=full, env={"LOG": "debug"}) as mesh:
        answered = sum(_answers(mesh) for _ in range(50))
        yield exactly("R16", "full-disk-answered", answered, "requests", 50)
        yield exactly("R16", "full-disk-crashed", int(not mesh.alive()), "proxies", 0)


def _groups() -> Iterator[Line]:
    """32 MiB of memory, and a twentieth of a processor."""
    for label in _LIMITS:
        with Mesh() as mesh, _group(label, mesh.server_proxy.pid) as granted:
            if not granted:
                yield Line(
                    "R16",
                    f"{label}-measured",
                    0,
                    "runs",
                    "=1",
                    False,
                    "no writable control group here",
                )
                continue
            peers = [mesh.outside.connect(SERVER_IP, HTTP, 30.0) for _ in range(CONNECTIONS)]
            for peer in peers:
                with contextlib.suppress(OSError):
                    peer.sendall(
                        b"POST /stream HTTP/1.1\r\nHost: w\r\nContent-Length: 65536\r\n\r\n"
                        + bytes(32768)
                    )
            time.sleep(2.0)
            for peer in peers:
                peer.close()
            yield at_most("R16", f"{label}-recovered", _recovery(mesh), "s", RECOVERED_S)
            yield exactly("R16", f"{label}-crashed", int(not mesh.alive()), "proxies", 0)


@contextlib.contextmanager
def _group(controller: str, pid: int) -> Iterator[bool]:
    """Puts a process under a limit; false where this machine does not let us."""
    second, first = _LIMITS[controller]
    unified = (_ROOT / "cgroup.controllers").exists()
    parent = _ROOT if unified else _ROOT / controller
    group = parent / "l5dscore"
    try:
        if unified:
            (parent / "cgroup.subtree_control").write_text(f"+{controller}")
        group.mkdir(exist_ok=True)
        file, value = second if unified else first
        (group / file).write_text(value)
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            (parent / "cgroup.procs").write_text(str(pid))
            group.rmdir()


def _recovery(mesh: Mesh) -> float:
    begun = time.monotonic()
    while not _answers(mesh) and time.monotonic() < begun + 12 * RECOVERED_S:
        time.sleep(0.1)
    return time.monotonic() - begun


def _answers(mesh: Mesh) -> bool:
    try:
        with contextlib.closing(mesh.client.connect(SERVICE_IP, HTTP, 5.0)) as peer:
            peer.sendall(b"GET /status/204 HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
            return b" 204 " in peer.recv(4096)
    except OSError:
        return False
