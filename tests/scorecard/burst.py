"""R02: what a burst of connections takes is little, and is given back.

Source: linkerd2 #11430 (memory kept after bursts).
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

from bench.rig import memory_kb
from tests.scorecard import frames
from tests.scorecard.handshakes import Certificate, _authority, _contexts
from tests.scorecard.mesh import BYTES, HTTP, OWN, SERVER_ID, SERVER_IP, Mesh, in_background
from tests.scorecard.rows import Line, at_most, exactly
from tests.scorecard.slow import _serve_large

CONNECTIONS = 1000
PLAIN_KB, TLS_KB = 12.0, 40.0
LARGE_RESPONSES = 20
IDLE_S = 60.0


def check() -> Iterator[Line]:
    """Idle connections of each kind, large responses, then a minute of rest."""
    with Mesh(env={"INBOUND_ACCEPT_KEEPALIVE": "60s"}) as mesh:
        proxy = mesh.server_proxy
        listener = mesh.server.listen(OWN)
        in_background(lambda: _serve_large(listener))
        context = _contexts(mesh, _authority(mesh.authority), "burst", Certificate())
        start = memory_kb(proxy)["rss"]
        for label, limit in (
            ("plain-http1", PLAIN_KB),
            ("plain-bytes", PLAIN_KB),
            ("mesh-tls-http2", TLS_KB),
        ):
            before = memory_kb(proxy)["pss_anon"]
            peers = [_open(mesh, label, context) for _ in range(CONNECTIONS)]
            each = (memory_kb(proxy)["pss_anon"] - before) / CONNECTIONS
            for peer in peers:
                peer.close()
            yield at_most("R02", f"{label}-idle", max(0.0, each), "KiB", limit)
        received = sum(_large(mesh) for _ in range(LARGE_RESPONSES))
        yield exactly("R02", "large-responses", received, "responses", LARGE_RESPONSES)
        time.sleep(IDLE_S)
        after = memory_kb(proxy)["rss"]
        yield at_most(
            "R02", "rss-after-idle", after, "KiB", start * 1.2 + 5 * 1024, f"{start} KiB at start"
        )
        yield exactly("R02", "crashed", int(not mesh.alive()), "proxies", 0)


def _open(mesh: Mesh, label: str, context: ssl.SSLContext) -> socket.socket:
    """A connection that has been used once."""
    port = BYTES if label == "plain-bytes" else HTTP
    peer = mesh.outside.connect(SERVER_IP, port)
    if label == "mesh-tls-http2":
        peer = context.wrap_socket(peer, server_hostname=SERVER_ID)
        peer.sendall(frames.hello() + frames.get(1, "/status/204"))
    elif label == "plain-http1":
        peer.sendall(b"GET /status/204 HTTP/1.1\r\nHost: w\r\n\r\n")
    else:
        peer.sendall(b"*1\r\n$4\r\nPING-PING-PING\r\n")
    peer.recv(4096)
    return peer


def _large(mesh: Mesh) -> bool:
    with contextlib.closing(mesh.outside.connect(SERVER_IP, OWN)) as peer:
        peer.sendall(b"GET /large HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
        got = 0
        while part := peer.recv(1 << 20):
            got += len(part)
        return got > 8 << 20
