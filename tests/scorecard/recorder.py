"""An HTTP/1 backend that goes by the book and keeps what it was asked."""

import contextlib
import functools
import re
import socket
import threading
from dataclasses import dataclass

import h11

from tests.scorecard.mesh import Host, in_background

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")


@dataclass
class Seen:
    """A complete request as the backend understood it, and what is odd about its form."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    odd: str = ""


class Recorder:
    """Listens on a port of a pod; `seen` grows as requests come."""

    def __init__(self, host: Host, port: int, answer: bytes = _ANSWER) -> None:
        self.seen: list[Seen] = []
        self._answer = answer
        self._lock = threading.Lock()
        self._peers: set[socket.socket] = set()
        self._listener = host.listen(port)
        in_background(self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                in_background(functools.partial(self._serve, peer))

    def _serve(self, peer: socket.socket) -> None:
        with self._lock:
            self._peers.add(peer)
        with contextlib.closing(peer), contextlib.suppress(OSError, h11.ProtocolError):
            while self._request(peer):
                peer.sendall(self._answer)
        with self._lock:
            self._peers.discard(peer)

    def _request(self, peer: socket.socket) -> bool:
        """Reads one request; false when the peer is done."""
        # One parser a request: the bodies' ends then are the book's, not the answer's.
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        raw, body = b"", b""
        head: h11.Request | None = None
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                octets = peer.recv(65536)
                if not octets and head is None:
                    return False
                if head is None:
                    raw += octets
                reader.receive_data(octets)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                self._note(head, body, raw.split(b"\r\n\r\n", 1)[0])
                return not reader.trailing_data[0]
            else:
                return False

    def _note(self, head: h11.Request, body: bytes, raw: bytes) -> None:
        headers = [(name.decode(), value.decode("latin-1")) for name, value in head.headers]
        seen = Seen(
            head.method.decode(),
            head.target.decode("latin-1"),
            headers,
            body,
            _oddness(headers, raw),
        )
        with self._lock:
            self.seen.append(seen)

    def close(self) -> None:
        """Stops listening, and ends what a proxy keeps open for later requests."""
        with self._lock:
            peers = list(self._peers)
        # A thread in accept() or recv() holds its socket until it is woken.
        for one in (self._listener, *peers):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _oddness(headers: list[tuple[str, str]], raw: bytes) -> str:
    """Why a laxer reader could take the request otherwise; empty for the one plain form."""
    of = {
        name: [v for n, v in headers if n == name]
        for name in ("host", "content-length", "transfer-encoding")
    }
    lengths, codings = of["content-length"], of["transfer-encoding"]
    if _BARE.search(raw):
        return "bare line end"
    if len(of["host"]) > 1:
        return "several hosts"
    if len(lengths) + len(codings) > 1:
        return "length given twice"
    if lengths and not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        return "odd length"
    if codings and codings[0].lower() != "chunked":
        return "odd coding"
    return ""
