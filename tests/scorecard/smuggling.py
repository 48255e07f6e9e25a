"""R21: no bytes make the backend see a request that the client did not send.

Each variant goes to the inbound proxy (from outside the mesh) and through both proxies (from the
client pod). The backend goes by the book and also says whether a laxer one could read otherwise.
"""

import contextlib
import functools
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.scorecard.mesh import OWN, SERVER_IP, SERVICE_IP, Host, Mesh, world_of
from tests.scorecard.recorder import Recorder, Seen
from tests.scorecard.rows import Line, at_least, exactly
from tests.scorecard.smuggling_variants import PASS, REFUSE, Variant, variants

_ERROR = re.compile(rb"HTTP/1\.[01] [45]\d\d ")
# A refusal comes at once; this long only what hangs is waited for.
_PATIENCE_S = 4.0


@dataclass(frozen=True)
class _Sent:
    variant: Variant
    number: int
    answer: bytes
    closed: bool


def check() -> Iterator[Line]:
    """Sends every variant both ways."""
    with Mesh(world=world_of(OWN, "http1")) as mesh:
        table = variants()
        yield at_least("R21", "variants", len(table), "cases", 300)
        # One backend for both ways: the server's proxy keeps its connections.
        recorder = Recorder(mesh.server, OWN)
        for direction, source, ip in (
            ("inbound", mesh.outside, SERVER_IP),
            ("outbound", mesh.client, SERVICE_IP),
        ):
            recorder.seen.clear()
            with ThreadPoolExecutor(16) as pool:
                job = functools.partial(_send, source, ip)
                sent = list(pool.map(job, range(len(table)), table))
            yield from _judge(direction, sent, recorder)
        recorder.close()
        yield exactly("R21", "crashed", int(not mesh.alive()), "proxies", 0)


def _numbered(octets: bytes, number: int) -> bytes:
    mark = b"%05d" % number
    return octets.replace(b"/sent", b"/sent" + mark).replace(b"/smuggled", b"/smuggled" + mark)


def _send(source: Host, ip: str, number: int, variant: Variant) -> _Sent:
    """Sends a variant and reads until the proxy closes, or until an answer has come."""
    answer, closed = b"", False
    with contextlib.closing(source.connect(ip, OWN)) as peer:
        peer.settimeout(_PATIENCE_S)
        try:
            peer.sendall(_numbered(variant.octets, number))
            while not (variant.expect == PASS and answer.endswith(b"ok")):
                part = peer.recv(65536)
                answer += part
                if not part:
                    closed = True
                    break
                if variant.expect != REFUSE and b" 200 " in answer:
                    # It passed; whether more follows shows the backend, not this wait.
                    peer.settimeout(0.3)
        except ConnectionError:
            closed = True
        except OSError:
            closed = False
    return _Sent(variant, number, answer, closed)


def _judge(direction: str, sent: list[_Sent], recorder: Recorder) -> Iterator[Line]:
    smuggled, lax, refused_wrongly = [], [], []
    for one in sent:
        mark, name = f"{one.number:05d}", one.variant.name
        seen = [request for request in recorder.seen if mark in request.target]
        odd = [request.odd for request in seen if request.odd]
        if any("smuggled" in request.target for request in seen) or len(seen) > 1 or odd:
            smuggled.append(name)
        if one.variant.expect == REFUSE:
            if seen or not one.closed or not (_ERROR.match(one.answer) or not one.answer):
                lax.append(name)
        elif not _passed(one, seen) and not (
            one.variant.expect != PASS and not seen and one.closed
        ):
            refused_wrongly.append(name)
    # An unnumbered target is one that no client sent.
    stray = [
        r.target for r in recorder.seen if not re.search(r"\d{5}", r.target) and r.target != "*"
    ]
    yield exactly(
        "R21",
        f"{direction}-smuggled",
        len(smuggled) + len(stray),
        "cases",
        0,
        _some(smuggled + stray),
    )
    yield exactly("R21", f"{direction}-ambiguous-taken", len(lax), "cases", 0, _some(lax))
    yield exactly(
        "R21",
        f"{direction}-sound-changed",
        len(refused_wrongly),
        "cases",
        0,
        _some(refused_wrongly),
    )


def _passed(one: _Sent, seen: list[Seen]) -> bool:
    if one.variant.name == "an asterisk":
        # A route for `/` does not take it.
        return b" 200 " in one.answer or b" 404 " in one.answer
    bodies = [request.body for request in seen]
    return bodies == [one.variant.body.encode("latin-1")]


def _some(names: list[str]) -> str:
    return "; ".join(names[:6]) + (f"; {len(names) - 6} more" if len(names) > 6 else "")
