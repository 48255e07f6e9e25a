"""R25: clients that are slow on purpose lose their connection or cost little, and hurt nobody else.

A client that begins a request must finish its head in time. One that asks for nothing, or that does
not read, may be what it claims to be: it is kept (five minutes, when something waits for it; the
engine's tests pass that time), so what it costs is measured.
Source: slowhttptest's slow headers, slow body and slow read; RFC 9110 §15.5.9.
"""

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.rig import memory_kb
from tests.scorecard import frames
from tests.scorecard.mesh import (
    HTTP,
    OWN,
    SERVER_IP,
    SERVICE_IP,
    Host,
    Mesh,
    in_background,
    world_of,
)
from tests.scorecard.rows import Line, at_least, at_most, exactly

CLIENTS = 100
WITHIN_S = 30.0
MEMORY_KB = 64 * 1024
# The head of RST_STREAM on stream 1.
_RESET = b"\x00\x00\x04\x03\x00\x00\x00\x00\x01"
LARGE = b"x" * (8 << 20)


@dataclass(frozen=True)
class _Manner:
    """`begin` is sent at once, `drip` every second; `cut`: the proxy must end the connection."""

    name: str
    begin: bytes
    drip: Callable[[int], bytes]
    port: int
    cut: bool = True


_HEAD = b"POST /stream HTTP/1.1\r\nHost: web.score\r\n"
MANNERS = (
    _Manner("no-request", b"", lambda n: b"", OWN, cut=False),
    _Manner("slow-request-line", b"G", lambda n: b"ET /"[n : n + 1], OWN),
    _Manner("slow-headers", b"GET / HTTP/1.1\r\n", lambda n: b"x-%d: y\r\n" % n, OWN),
    _Manner(
        "slow-http2-preface",
        frames.PREFACE[:18],
        lambda n: frames.PREFACE[18 + n : 19 + n],
        HTTP,
    ),
    _Manner(
        "slow-http2-headers",
        frames.hello() + frames.frame(frames.HEADERS, 0, 1, frames.block(frames.request())),
        lambda n: frames.frame(frames.CONTINUATION, 0, 1, frames.literal(f"x-{n}", "y")),
        HTTP,
    ),
    _Manner(
        "slow-read",
        b"GET /large HTTP/1.1\r\nHost: web.score\r\n\r\n",
        lambda n: b"",
        OWN,
        cut=False,
    ),
    _Manner(
        "slow-http2-read",
        frames.hello([(frames.INITIAL_WINDOW, 0)]) + frames.get(1, "/large"),
        lambda n: b"",
        HTTP,
        cut=False,
    ),
)


def check() -> Iterator[Line]:
    """All manners at once, from outside the mesh and from the client pod."""
    # A proxy that detects hands a silent client on: here it must know that HTTP/1 is meant.
    with Mesh(world=world_of(OWN, "http1")) as mesh:
        listener = mesh.server.listen(OWN)
        in_background(lambda: _serve_large(listener))
        base = _slowest(mesh)
        before = [memory_kb(proxy)["pss_anon"] for proxy in mesh.proxies]
        peaks, times = list(before), [base]
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(1.0):
                for side, proxy in enumerate(mesh.proxies):
                    peaks[side] = max(peaks[side], memory_kb(proxy)["pss_anon"])
                times.append(_slowest(mesh))

        watcher = threading.Thread(target=watch)
        watcher.start()
        jobs = [
            (f"{label}:{manner.name}", manner, source, ip)
            for manner in MANNERS
            for label, source, ip in (
                ("inbound", mesh.outside, SERVER_IP),
                ("outbound", mesh.client, SERVICE_IP),
            )
        ]
        with ThreadPoolExecutor(len(jobs)) as pool:
            ended = list(pool.map(lambda job: _drip(*job[1:]), jobs))
        stop.set()
        watcher.join()
        for (name, manner, *_), count in zip(jobs, ended, strict=True):
            if manner.cut:
                what = f"{name}-reclaimed-in-{WITHIN_S:g}s"
                yield at_least("R25", what, count, "connections", CLIENTS)
        for label, first, most in zip(("server", "client"), before, peaks, strict=True):
            yield at_most("R25", f"{label}-memory", most - first, "KiB", MEMORY_KB)
        # Below 50 ms the machine's own noise decides.
        yield at_most("R25", "good-client", statistics.median(times), "ms", max(50.0, 2 * base))
        yield exactly("R25", "crashed", int(not mesh.alive()), "proxies", 0)


def _drip(manner: _Manner, source: Host, ip: str) -> int:
    """Opens the connections, keeps them going, and counts those that the proxy ends in time."""
    peers: list[socket.socket] = []
    for _ in range(CLIENTS):
        peer = source.open()
        # A small buffer, so that a client that does not read stops the sender soon.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(10)
        peer.connect((ip, manner.port))
        peer.sendall(manner.begin)
        peer.setblocking(False)
        peers.append(peer)
    begun, step, left = time.monotonic(), 0, list(peers)
    while left and time.monotonic() < begun + WITHIN_S:
        time.sleep(1.0)
        if manner.cut:
            left = [peer for peer in left if not _has_ended(peer)]
        for peer in left:
            with contextlib.suppress(OSError):
                peer.send(manner.drip(step))
        step += 1
    for peer in peers:
        peer.close()
    return CLIENTS - len(left)


def _has_ended(peer: socket.socket) -> bool:
    """Whether the proxy closed the connection, or reset its only stream."""
    try:
        octets = peer.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return not octets or _RESET in octets


def _serve_large(listener: socket.socket) -> None:
    while True:
        peer, _ = listener.accept()

        def answer(peer: socket.socket = peer) -> None:
            with contextlib.closing(peer), contextlib.suppress(OSError):
                while peer.recv(65536):
                    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LARGE)
                    peer.sendall(head)
                    peer.sendall(LARGE)

        in_background(answer)


def _slowest(mesh: Mesh) -> float:
    """Milliseconds of the slowest of 20 requests through both proxies; a failure counts as 10 s."""
    slowest = 0.0
    for _ in range(20):
        begun = time.monotonic()
        try:
            with contextlib.closing(mesh.client.connect(SERVICE_IP, HTTP, 10)) as peer:
                peer.sendall(b"GET /status/204 HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
                if b" 204 " not in peer.recv(4096):
                    return 10_000.0
        except OSError:
            return 10_000.0
        slowest = max(slowest, (time.monotonic() - begun) * 1000)
    return slowest
