"""R20: HTTP/2 as h2spec knows it, gRPC's interop cases, and what HTTP/1 can do besides requests.

h2spec is built from its Go module (`h2spec/go.mod`); where Go is missing its lines fail.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

from tests.scorecard.mesh import (
    HTTP,
    OWN,
    ROOT,
    SERVER_IP,
    SERVICE_IP,
    Host,
    Mesh,
    in_background,
    read_all,
    world_of,
)
from tests.scorecard.rows import Line, at_least, exactly

H2SPEC = ROOT / "target" / "scorecard" / "h2spec"
_SUMMARY = re.compile(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed")
_LARGE = hashlib.sha256(b"score").digest() * (1 << 17)


def check() -> Iterator[Line]:
    """h2spec on both sides, then messages through both proxies."""
    missing = _build()
    # What is no preface is no HTTP/2 to a proxy that detects: here it must know.
    with Mesh(world=world_of(HTTP, "http2")) as mesh:
        for label, host, ip in (
            ("inbound", mesh.outside, SERVER_IP),
            ("outbound", mesh.client, SERVICE_IP),
        ):
            yield from _h2spec(mesh, label, host, ip, missing)
    with Mesh() as mesh:
        yield from _grpc(mesh)
        with contextlib.closing(mesh.server.listen(OWN)) as listener:
            in_background(partial(_accept, listener))
            for label, host, ip in (
                ("inbound", mesh.outside, SERVER_IP),
                ("outbound", mesh.client, SERVICE_IP),
            ):
                wrong = []
                for name, case in _CASES.items():
                    try:
                        right = case(partial(host.connect, ip))
                    except OSError:
                        right = False
                    if not right:
                        wrong.append(name)
                count = len(_CASES) - len(wrong)
                yield exactly(
                    "R20", f"{label}-http1-cases", count, "cases", len(_CASES), "; ".join(wrong)
                )
        yield exactly("R20", "crashed", int(not mesh.alive()), "proxies", 0)


def _build() -> str:
    """Builds h2spec unless it is there; says why it cannot."""
    if H2SPEC.exists():
        return ""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return "Go is missing"
    done = subprocess.run(
        [go, "build", "-o", str(H2SPEC), "github.com/summerwind/h2spec/cmd/h2spec"],
        cwd=ROOT / "tests" / "scorecard" / "h2spec",
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOWORK": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr[-200:] if done.returncode else ""


def _h2spec(mesh: Mesh, label: str, host: Host, ip: str, missing: str) -> Iterator[Line]:
    output = missing
    if not missing:
        command = ["ip", "netns", "exec", host.name, str(H2SPEC), "-h", ip, "-p", str(HTTP)]
        done = subprocess.run(
            [*command, "-o", "5", "generic", "http2", "hpack"],
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        output = done.stdout
    summary = _SUMMARY.search(output)
    tests, passed, skipped, failed = map(int, summary.groups()) if summary else (0, 0, 0, 1)
    failures = re.findall(r"× \d+: (.*)", output.split("Failures:")[-1]) or [output[-200:]]
    note = "; ".join(failures[:5]) if failed else f"{skipped} skipped"
    yield at_least("R20", f"{label}-h2spec-passed", passed, "tests", max(90, tests - skipped), note)
    yield exactly("R20", f"{label}-h2spec-failed", failed, "tests", 0, note)


def _grpc(mesh: Mesh) -> Iterator[Line]:
    """Server and client are processes of their own: their library opens its sockets itself."""
    module = [sys.executable, "-m", "tests.scorecard.interop"]
    inside = {side: ["ip", "netns", "exec", side.name] for side in (mesh.server, mesh.client)}
    server = subprocess.Popen(
        [*inside[mesh.server], *module, "serve", str(OWN)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    server.stdout.readline()
    try:
        target = f"{SERVICE_IP}:{OWN}"
        done = subprocess.run(
            [*inside[mesh.client], *module, "call", target],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        result = json.loads(done.stdout) if done.returncode == 0 else {"client": done.stderr[-300:]}
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    wrong = [f"{name}: {why}" for name, why in result.items() if why]
    yield exactly(
        "R20",
        "grpc-interop-cases",
        len(result) - len(wrong),
        "cases",
        max(14, len(result)),
        "; ".join(wrong),
    )


Connect = Callable[[int], socket.socket]


def _exchange(connect: Connect, request: bytes, port: int = OWN) -> bytes:
    with contextlib.closing(connect(port)) as peer:
        peer.sendall(request)
        return read_all(peer)


def _get(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: web.score\r\nConnection: close\r\n{more}\r\n".encode()


def _websocket(connect: Connect) -> bool:
    """An upgrade is a tunnel, byte for byte, for octets that follow the head at once too."""
    head = (
        b"GET /socket HTTP/1.1\r\nHost: web.score\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    return _tunnel(connect, head, b"HTTP/1.1 101", HTTP)


def _connect_method(connect: Connect) -> bool:
    return _tunnel(
        connect,
        b"CONNECT web.score:80 HTTP/1.1\r\nHost: web.score:80\r\n\r\n",
        b"HTTP/1.1 200",
        OWN,
    )


def _tunnel(connect: Connect, head: bytes, status: bytes, port: int) -> bool:
    with contextlib.closing(connect(port)) as peer:
        peer.sendall(head)
        answer = b""
        while b"\r\n\r\n" not in answer and (part := peer.recv(4096)):
            answer += part
        if not answer.startswith(status):
            return False
        got = answer.split(b"\r\n\r\n", 1)[1]
        in_background(partial(peer.sendall, _LARGE))
        while len(got) < len(_LARGE) and (part := peer.recv(1 << 16)):
            got += part
        return got == _LARGE


def _early_hints(connect: Connect) -> bool:
    answer = _exchange(connect, _get("/hints"))
    return (
        answer.startswith(b"HTTP/1.1 103")
        and b"link: </a.css>" in answer.lower()
        and b"HTTP/1.1 200" in answer
    )


def _continue(connect: Connect) -> bool:
    """The body is sent only after the server has asked for it."""
    with contextlib.closing(connect(OWN)) as peer:
        peer.sendall(
            b"POST /body HTTP/1.1\r\nHost: w\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"
            b"Connection: close\r\n\r\n"
        )
        if not peer.recv(4096).startswith(b"HTTP/1.1 100"):
            return False
        peer.sendall(b"hello")
        return read_all(peer).endswith(b"hello")


def _response_trailers(connect: Connect) -> bool:
    answer = _exchange(connect, _get("/trailers", "TE: trailers\r\n"))
    return b"x-sum: 42" in answer.rsplit(b"0\r\n", 1)[-1].lower()


def _request_trailers(connect: Connect) -> bool:
    request = (
        b"POST /raw HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n"
        b"Connection: close\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"
    )
    return b"x-sum: 42" in _exchange(connect, request).lower()


def _large_bodies(connect: Connect) -> bool:
    head = b"POST /stream HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with contextlib.closing(connect(HTTP)) as peer:
        in_background(partial(peer.sendall, head % len(_LARGE) + _LARGE))
        answer = read_all(peer)
    return _decoded(answer) == _LARGE


def _chunked_body(connect: Connect) -> bool:
    chunks = (
        b"".join(b"%x\r\n" % n + b"y" * n + b"\r\n" for n in (1, 7, 4096, 70_000)) + b"0\r\n\r\n"
    )
    head = b"POST /stream HTTP/1.1\r\nHost: w\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return _decoded(_exchange(connect, head + chunks, HTTP)) == b"y" * (1 + 7 + 4096 + 70_000)


def _decoded(answer: bytes) -> bytes:
    """An answer's body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    out, at = b"", 0
    while at < len(body):
        line, _, _ = body[at:].partition(b"\r\n")
        size = int(line or b"0", 16)
        out += body[at + len(line) + 2 : at + len(line) + 2 + size]
        at += len(line) + size + 4
        if size == 0:
            break
    return out


def _old_version(connect: Connect) -> bool:
    answer = _exchange(connect, b"GET /plain HTTP/1.0\r\nHost: w\r\n\r\n")
    return answer.endswith(b"ok") and b"chunked" not in answer.lower()


def _until_close(connect: Connect) -> bool:
    return _decoded(_exchange(connect, _get("/close"))) == b"until the end"


def _head_method(connect: Connect) -> bool:
    answer = _exchange(connect, b"HEAD /plain HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
    return answer.endswith(b"\r\n\r\n") and b"content-length: 2" in answer.lower()


def _not_modified(connect: Connect) -> bool:
    answer = _exchange(connect, _get("/304"))
    return answer.startswith(b"HTTP/1.1 304") and answer.endswith(b"\r\n\r\n")


def _pipelined(connect: Connect) -> bool:
    request = b"GET /plain HTTP/1.1\r\nHost: w\r\n\r\n" * 3
    return _exchange(connect, request + _get("/plain")).count(b"HTTP/1.1 200") == 4


def _repeated_fields(connect: Connect) -> bool:
    """Values of one name stay apart and in order."""
    answer = _exchange(connect, _get("/cookies")).lower()
    first, second = answer.find(b"set-cookie: a=1"), answer.find(b"set-cookie: b=2")
    return 0 < first < second


_CASES: dict[str, Callable[[Connect], bool]] = {
    "websocket": _websocket,
    "CONNECT": _connect_method,
    "103 early hints": _early_hints,
    "100 continue": _continue,
    "response trailers": _response_trailers,
    "request trailers": _request_trailers,
    "4 MiB both ways": _large_bodies,
    "chunked body": _chunked_body,
    "HTTP/1.0": _old_version,
    "body until close": _until_close,
    "HEAD": _head_method,
    "304": _not_modified,
    "pipelined requests": _pipelined,
    "repeated fields": _repeated_fields,
}


def _accept(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            peer, _ = listener.accept()
            in_background(partial(_serve, peer))


def _serve(peer: socket.socket) -> None:
    """A server that answers by path, one request after the other."""
    with contextlib.closing(peer), contextlib.suppress(OSError):
        pending = b""
        while True:
            while b"\r\n\r\n" not in pending:
                part = peer.recv(65536)
                if not part:
                    return
                pending += part
            head, _, pending = pending.partition(b"\r\n\r\n")
            line = head.split(b"\r\n")[0].decode()
            if line.startswith("CONNECT"):
                peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + pending)
                while part := peer.recv(65536):
                    peer.sendall(part)
                return
            path = line.split()[1]
            if path == "/body":
                peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                while len(pending) < 5:
                    pending += peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + pending[:5])
                pending = pending[5:]
            elif path == "/raw":
                while b"0\r\n" not in pending or not pending.endswith(b"\r\n\r\n"):
                    pending += peer.recv(4096)
                peer.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(pending) + pending
                )
                pending = b""
            else:
                peer.sendall(
                    _ANSWERS.get(path, _ANSWERS["/plain"]).replace(
                        b"BODY", b"" if line.startswith("HEAD") else b"ok"
                    )
                )
                if path == "/close":
                    return


_ANSWERS = {
    "/plain": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nBODY",
    "/hints": b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "/trailers": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n",
    "/close": b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end",
    "/304": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
    "/cookies": b"HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n\r\nok",
}
