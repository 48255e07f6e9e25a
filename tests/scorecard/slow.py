"""R25: clients that are slow on purpose lose their connection, and hurt nobody else.

Source: slowhttptest's slow headers, slow body and slow read; RFC 9110 §15.5.9.
"""

import contextlib
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.rig import memory_kb
from tests.scorecard import frames
from tests.scorecard.mesh import HTTP, OWN, SERVER_IP, SERVICE_IP, Host, Mesh, in_background
from tests.scorecard.rows import Line, at_least, at_most, exactly

CLIENTS = 500
HEADERS_WITHIN_S, OTHERS_WITHIN_S = 30.0, 75.0
MEMORY_KB = 64 * 1024
LARGE = b"x" * (8 << 20)


@dataclass(frozen=True)
class _Manner:
    """`begin` is sent at once, `drip` every second; `reads`: whether answers are taken."""

    name: str
    begin: bytes
    drip: Callable[[int], bytes]
    port: int
    within_s: float
    reads: bool = True


_HEAD = b"POST /stream HTTP/1.1\r\nHost: web.score\r\n"
MANNERS = (
    _Manner("no-request", b"", lambda n: b"", HTTP, HEADERS_WITHIN_S),
    _Manner(
        "slow-request-line",
        b"G",
        lambda n: b"E" if n == 0 else b"T" if n == 1 else b"",
        HTTP,
        HEADERS_WITHIN_S,
    ),
    _Manner(
        "slow-headers", b"GET / HTTP/1.1\r\n", lambda n: b"x-%d: y\r\n" % n, HTTP, HEADERS_WITHIN_S
    ),
    _Manner(
        "slow-http2-preface",
        frames.PREFACE[:18],
        lambda n: frames.PREFACE[18 + n : 19 + n],
        HTTP,
        HEADERS_WITHIN_S,
    ),
    _Manner(
        "slow-http2-headers",
        frames.hello() + frames.frame(frames.HEADERS, 0, 1, frames.block(frames.request())),
        lambda n: frames.frame(frames.CONTINUATION, 0, 1, frames.literal(f"x-{n}", "y")),
        HTTP,
        HEADERS_WITHIN_S,
    ),
    _Manner(
        "slow-read",
        b"GET /large HTTP/1.1\r\nHost: web.score\r\n\r\n",
        lambda n: b"",
        OWN,
        OTHERS_WITHIN_S,
        reads=False,
    ),
    _Manner(
        "slow-http2-read",
        frames.hello([(frames.INITIAL_WINDOW, 0)]) + frames.get(1, "/large"),
        lambda n: b"",
        HTTP,
        OTHERS_WITHIN_S,
    ),
    _Manner(
        "slow-body", _HEAD + b"Content-Length: 100000\r\n\r\n", lambda n: b"", HTTP, OTHERS_WITHIN_S
    ),
)


def check() -> Iterator[Line]:
    """Each manner from outside the mesh, and from the client pod."""
    with Mesh() as mesh:
        listener = mesh.server.listen(OWN)
        in_background(lambda: _serve_large(listener))
        for manner in MANNERS:
            for label, source, ip in (
                ("inbound", mesh.outside, SERVER_IP),
                ("outbound", mesh.client, SERVICE_IP),
            ):
                yield from _bear(mesh, manner, label, source, ip)
        yield exactly("R25", "crashed", int(not mesh.alive()), "proxies", 0)


def _bear(mesh: Mesh, manner: _Manner, label: str, source: Host, ip: str) -> Iterator[Line]:
    proxy = mesh.proxies[label == "outbound"]
    base, before = _p99(mesh), memory_kb(proxy)["pss_anon"]
    peak, times = before, [base]
    stop = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(1.0):
            peak = max(peak, memory_kb(proxy)["pss_anon"])
            times.append(_p99(mesh))

    watcher = threading.Thread(target=watch)
    watcher.start()
    ended = _drip(manner, source, ip)
    stop.set()
    watcher.join()
    name = f"{label}:{manner.name}"
    yield at_least(
        "R25", f"{name}-reclaimed-in-{manner.within_s:g}s", ended, "connections", CLIENTS
    )
    yield at_most("R25", f"{name}-memory", max(0, peak - before), "KiB", MEMORY_KB)
    # Below 50 ms the machine's own noise decides.
    yield at_most("R25", f"{name}-good-client", statistics.median(times), "ms", max(50.0, 2 * base))


def _drip(manner: _Manner, source: Host, ip: str) -> int:
    """Opens the connections, keeps them going, and counts those that the proxy ends in time."""
    ended = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(CLIENTS):
            peer = source.open()
            # A small buffer, so that a client that does not read stops the sender soon.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.settimeout(10)
            peer.connect((ip, manner.port))
            peer.sendall(manner.begin)
            peer.setblocking(False)
            selector.register(peer, selectors.EVENT_READ)
        begun, step = time.monotonic(), 0
        while selector.get_map() and time.monotonic() < begun + manner.within_s:
            if manner.reads:
                for key, _ in selector.select(0.1):
                    ended += _has_ended(selector, key)
            else:
                time.sleep(0.1)
                for key in list(selector.get_map().values()):
                    ended += _is_reset(selector, key)
            if time.monotonic() > begun + step:
                for key in list(selector.get_map().values()):
                    with contextlib.suppress(OSError):
                        key.fileobj.send(manner.drip(step))  # type: ignore[union-attr]
                step += 1
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return ended


def _has_ended(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> bool:
    peer = key.fileobj
    assert isinstance(peer, socket.socket)
    try:
        if peer.recv(65536):
            return False
    except BlockingIOError:
        return False
    except OSError:
        pass
    selector.unregister(peer)
    peer.close()
    return True


def _is_reset(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> bool:
    """Without reading: whether the connection's state is other than established."""
    peer = key.fileobj
    assert isinstance(peer, socket.socket)
    if peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1:
        return False
    selector.unregister(peer)
    peer.close()
    return True


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


def _p99(mesh: Mesh) -> float:
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
