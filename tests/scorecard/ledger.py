"""R30: nothing lost, nothing twice: what clients were told is what backends did.

Backends that misbehave (they close early, late or in the middle of an answer) keep a ledger of what
they executed; clients keep one of what they were told. The two are compared.
"""

import collections
import contextlib
import http.client
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.scorecard import backends
from tests.scorecard.mesh import DIRECT, HTTP, SERVICE_IP, Mesh, in_background
from tests.scorecard.rows import Line, at_least, exactly

CLIENTS, REQUESTS = 16, 250
COUNTED = 2000
# What a backend does with a request, by how often.
_MANNERS = {"good": 80, "unheard": 5, "unanswered": 5, "short": 5, "refused": 5}


@dataclass
class _Ledger:
    """How often each request was executed, and how it was answered."""

    executed: collections.Counter[str] = field(default_factory=collections.Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, number: str) -> None:
        with self.lock:
            self.executed[number] += 1


@dataclass(frozen=True)
class _Told:
    number: str
    method: str
    status: int
    body: str


def check() -> Iterator[Line]:
    """Requests with numbers through faults, then counted ones without."""
    with Mesh(world=backends.world()) as mesh:
        ledger = _Ledger()
        listeners = [mesh.server.listen(port) for port in DIRECT]
        for listener in listeners:
            in_background(lambda listener=listener: _serve(listener, ledger))  # type: ignore[misc]
        with ThreadPoolExecutor(CLIENTS) as pool:
            told = [
                one for many in pool.map(lambda n: _ask(mesh, n), range(CLIENTS)) for one in many
            ]
        for listener in listeners:
            listener.close()
        good = [one for one in told if one.status == 200]
        posts = [number for number in ledger.executed if number.startswith("POST")]
        lost = [one.number for one in good if not ledger.executed[one.number]]
        twice = [number for number in posts if ledger.executed[number] > 1]
        foreign = [one.number for one in good if one.body != one.number]
        yield at_least("R30", "told-200", len(good), "requests", CLIENTS * REQUESTS * 0.7)
        yield exactly("R30", "told-but-not-done", len(lost), "requests", 0, " ".join(lost[:3]))
        yield exactly("R30", "posts-done-twice", len(twice), "requests", 0, " ".join(twice[:3]))
        yield exactly("R30", "answers-cut-or-of-others", len(foreign), "requests", 0)
        yield exactly("R30", "crashed", int(not mesh.alive()), "proxies", 0)
    yield from _counted()


def _counted() -> Iterator[Line]:
    """Both proxies' counters, for requests that all go well."""
    with Mesh() as mesh:
        peer = http.client.HTTPConnection("web.score")
        peer.auto_open = False
        peer.sock = mesh.client.connect(SERVICE_IP, HTTP)
        with contextlib.closing(peer):
            for _ in range(COUNTED):
                peer.request("GET", "/status/200")
                peer.getresponse().read()
        for side, direction in ((mesh.client, "outbound"), (mesh.server, "inbound")):
            # A probe of readiness, or another, is for another target.
            labels = (
                f'direction="{direction}"',
                "web.score.svc" if side is mesh.client else "8080",
            )
            for family in ("request_total", "response_total"):
                count = mesh.metric(side, family, *labels)
                yield exactly("R30", f"{direction}-{family}", count, "requests", COUNTED)


def _ask(mesh: Mesh, client: int) -> list[_Told]:
    """One client's requests, one after the other over connections that it keeps."""
    told: list[_Told] = []
    peer: http.client.HTTPConnection | None = None
    for n in range(REQUESTS):
        method = "POST" if n % 2 else "GET"
        number = f"{method}-{client}-{n}"
        status, body = 0, ""
        with contextlib.suppress(OSError, http.client.HTTPException):
            if peer is None or peer.sock is None:
                peer = http.client.HTTPConnection("many.score")
                peer.auto_open = False
                peer.sock = mesh.client.connect(SERVICE_IP, backends.PORT)
            peer.request(method, f"/{number}", body=number if method == "POST" else None)
            answer = peer.getresponse()
            # A body that ends early raises, and so does not count as told.
            body, status = answer.read().decode(), answer.status
        if status == 0 and peer is not None:
            peer.close()
        told.append(_Told(number, method, status, body))
    if peer is not None:
        peer.close()
    return told


def _serve(listener: socket.socket, ledger: _Ledger) -> None:
    with contextlib.suppress(OSError):
        while True:
            peer, _ = listener.accept()
            in_background(lambda peer=peer: _connection(peer, ledger))  # type: ignore[misc]


def _connection(peer: socket.socket, ledger: _Ledger) -> None:
    """Serves requests until it misbehaves; a request's number decides how, wherever it lands."""
    with contextlib.suppress(OSError, ValueError), peer, peer.makefile("rb") as reader:
        while line := reader.readline():
            number = line.split()[1].decode().lstrip("/")
            length = 0
            while (head := reader.readline().lower()) not in (b"\r\n", b""):
                if head.startswith(b"content-length:"):
                    length = int(head.split(b":")[1])
            reader.read(length)
            chosen = random.Random(number).choices(list(_MANNERS), list(_MANNERS.values()))[0]
            if chosen == "unheard":
                return
            if chosen != "refused":
                ledger.note(number)
            if chosen == "unanswered":
                return
            status = b"503 Unavailable" if chosen == "refused" else b"200 OK"
            body = number.encode()
            answer = b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)
            peer.sendall(answer[:-2] if chosen == "short" else answer)
            if chosen == "short":
                return
