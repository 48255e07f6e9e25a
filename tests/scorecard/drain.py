"""R13: a proxy that is told to end finishes what it has, takes nothing new, and ends well."""

import contextlib
import signal
import socket
import time
from collections.abc import Iterator

from tests.scorecard import frames
from tests.scorecard.mesh import HTTP, SERVER_IP, SERVICE_IP, Mesh, read_all
from tests.scorecard.rows import Line, at_most, exactly

STREAMS = IDLE = 100
LONG_MS = 3000
GRACE_S = 10.0


def check() -> Iterator[Line]:
    """SIGTERM to the server's proxy, then to the client's, each with work under way."""
    for label in ("inbound", "outbound"):
        with Mesh() as mesh:
            source = mesh.outside if label == "inbound" else mesh.client
            ip = SERVER_IP if label == "inbound" else SERVICE_IP
            proxy = mesh.proxies[label == "outbound"]
            one = [source.connect(ip, HTTP, 20) for _ in range(STREAMS)]
            idle = [source.connect(ip, HTTP, 20) for _ in range(IDLE)]
            two = source.connect(ip, HTTP, 20)
            for peer in idle:
                peer.sendall(b"GET /status/204 HTTP/1.1\r\nHost: w\r\n\r\n")
                assert b" 204 " in peer.recv(4096)
            for peer in one:
                peer.sendall(b"GET /sleep/%d HTTP/1.1\r\nHost: w\r\n\r\n" % LONG_MS)
            two.sendall(frames.hello())
            for n in range(STREAMS // 2):
                two.sendall(frames.get(2 * n + 1, f"/sleep/{LONG_MS}"))
            time.sleep(1.0)
            begun = time.monotonic()
            proxy.send_signal(signal.SIGTERM)
            finished = sum(b" 200 OK" in _answer(peer) for peer in one)
            kinds = _frames(read_all(two))
            answers = sum(kind == frames.HEADERS for kind, _ in kinds)
            code = proxy.wait(timeout=60)
            took = time.monotonic() - begun
            closed = sum(_closed(peer) for peer in idle)
        yield exactly("R13", f"{label}-finished", finished, "responses", STREAMS)
        yield exactly("R13", f"{label}-finished-http2", answers, "responses", STREAMS // 2)
        goaways = sum(kind == frames.GOAWAY for kind, _ in kinds)
        yield exactly("R13", f"{label}-goaway", int(goaways > 0), "seen", 1)
        yield exactly("R13", f"{label}-idle-closed", closed, "connections", IDLE)
        yield exactly("R13", f"{label}-exit", code, "code", 0)
        yield at_most("R13", f"{label}-took", took, "s", GRACE_S + 1)


def _answer(peer: socket.socket) -> bytes:
    with contextlib.closing(peer):
        return read_all(peer)


def _closed(peer: socket.socket) -> bool:
    peer.settimeout(1.0)
    with contextlib.closing(peer):
        try:
            return not peer.recv(1)
        except ConnectionError:
            return True
        except OSError:
            return False


def _frames(octets: bytes) -> list[tuple[int, int]]:
    """Kind and stream of each frame."""
    found, at = [], 0
    while at + 9 <= len(octets):
        found.append((octets[at + 3], int.from_bytes(octets[at + 5 : at + 9], "big")))
        at += 9 + int.from_bytes(octets[at : at + 3], "big")
    return found
