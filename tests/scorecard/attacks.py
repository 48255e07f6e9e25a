"""R19: attacks on HTTP/2, and what they cost the proxy and a client beside them.

Source: the advisories named in the table; RFC 9113 §10.5.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.rig import memory_kb
from tests.scorecard.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW,
    PADDED,
    PING,
    PRIORITY,
    PUSH,
    block,
    data,
    frame,
    get,
    headers,
    hello,
    indexed,
    literal,
    post,
    request,
    reset,
    settings,
    window,
)
from tests.scorecard.mesh import HTTP, SERVER_IP, SERVICE_IP, Host, Mesh
from tests.scorecard.rows import Line, at_least

SECONDS = 6.0
MANY = 100
ALONE_KB, TOGETHER_KB = 16 * 1024, 128 * 1024
# What a connection may cost however little it sends: its hundred streams, 16 KiB each.
OPEN_KB = 1600
# What the median of a client beside an attack may be even where the base is next to nothing.
CALM_MS = 50.0
# A client beside is watched for at least this long, also when the attack is cut at once.
WATCH_S = 1.0


@dataclass(frozen=True)
class Attack:
    """Bytes of the `n`th step; `cut`: a proxy that goes on serving such a peer is at fault."""

    name: str
    step: Callable[[int], bytes]
    cut: bool = True
    begin: bytes = hello()
    # Steps are sent this far apart; 0 sends as fast as the proxy takes them.
    every_s: float = 0.0


def _odd(n: int) -> int:
    return 2 * n + 1


def _tiny(count: int) -> bytes:
    """A request that names one table entry `count` times: a byte each here, 34 octets each there."""
    fields = block(request()) + literal("a", "", remember=True) + indexed(62) * count
    return fields


_BIG = literal("a", "x" * 3900, remember=True)
_ZERO_WINDOW = hello([(INITIAL_WINDOW, 0)])

ATTACKS = (
    # CVE-2023-44487, CVE-2023-26964
    Attack("rapid reset", lambda n: get(_odd(n)) + reset(_odd(n))),
    Attack("rapid reset of posts", lambda n: post(_odd(n)) + reset(_odd(n))),
    # CVE-2025-8671: what makes the server reset
    Attack("window of zero", lambda n: get(_odd(n), "/sleep/1000") + window(_odd(n), 0)),
    Attack("window too far", lambda n: get(_odd(n), "/sleep/1000") + window(_odd(n), 2**31 - 1)),
    Attack("data after the end", lambda n: get(_odd(n), "/sleep/1000") + data(_odd(n), b"x")),
    Attack("headers after the end", lambda n: get(_odd(n), "/sleep/1000") + get(_odd(n))),
    Attack(
        "parent of itself",
        lambda n: post(_odd(n)) + frame(PRIORITY, 0, _odd(n), _odd(n).to_bytes(4, "big") + b"\x01"),
    ),
    Attack("malformed requests", lambda n: headers(_odd(n), [(":method", "GET")])),
    # CVE-2024-27316 and its family
    Attack(
        "continuation flood",
        lambda n: (
            frame(HEADERS, 0, 1, block(request()))
            if n == 0
            else frame(CONTINUATION, 0, 1, literal("x", "y" * 1000))
        ),
    ),
    Attack(
        "empty continuations",
        lambda n: frame(HEADERS, 0, 1, block(request())) if n == 0 else frame(CONTINUATION, 0, 1),
    ),
    # CVE-2026-47774, CVE-2026-49975
    Attack(
        "table bomb", lambda n: frame(HEADERS, END_HEADERS | END_STREAM, _odd(n), _tiny(16_000))
    ),
    Attack(
        "table bomb of large entries",
        lambda n: frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            _odd(n),
            block(request()) + _BIG + indexed(62) * 12_000,
        ),
    ),
    Attack(
        "cookie crumbs",
        lambda n: frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            _odd(n),
            block(request()) + literal("cookie", "a", remember=True) + indexed(62) * 16_000,
        ),
    ),
    Attack(
        "bomb behind a closed window",
        lambda n: frame(HEADERS, END_HEADERS | END_STREAM, _odd(n), _tiny(150)) + window(0, 1),
        begin=_ZERO_WINDOW,
        cut=False,
        every_s=0.002,
    ),
    Attack(
        "responses that are not taken",
        lambda n: get(_odd(n)) if n < 5000 else b"",
        begin=_ZERO_WINDOW,
        cut=False,
        every_s=0.001,
    ),
    # RUSTSEC-2026-0258 and the floods of 2019
    Attack("empty data", lambda n: post(1) if n == 0 else data(1)),
    Attack(
        "only padding",
        lambda n: post(1) if n == 0 else frame(DATA, PADDED, 1, b"\xff" + bytes(255)),
    ),
    Attack("pings", lambda n: frame(PING, 0, 0, bytes(8))),
    Attack("ping answers", lambda n: frame(PING, ACK, 0, bytes(8))),
    Attack("settings", lambda n: settings([(HEADER_TABLE_SIZE, 4096)])),
    Attack("settings answers", lambda n: settings(ack=True)),
    Attack("priorities", lambda n: frame(PRIORITY, 0, _odd(n), bytes(4) + b"\x01")),
    Attack("unknown frames", lambda n: frame(0x42, 0, 0, b"x")),
    Attack("resets of an ended stream", lambda n: get(1) + reset(1) if n == 0 else reset(1)),
    Attack("windows by one", lambda n: window(0, 1)),
    Attack("goaways", lambda n: frame(GOAWAY, 0, 0, bytes(8))),
    Attack(
        "window size to and fro",
        lambda n: post(1) if n == 0 else settings([(INITIAL_WINDOW, 65535 * (n % 2))]),
    ),
    Attack("table size to and fro", lambda n: settings([(HEADER_TABLE_SIZE, 4096 * (n % 2))])),
    # Errors that end a connection at once
    Attack("frame too long", lambda n: frame(DATA, 0, 1, bytes(20_000))),
    Attack(
        "broken block",
        lambda n: frame(HEADERS, END_HEADERS | END_STREAM, _odd(n), b"\xff\xff\xff\xff\xff\xff"),
    ),
    Attack("push", lambda n: frame(PUSH, END_HEADERS, _odd(n), bytes(4) + block(request()))),
    # CVE-2021-32778: many streams, then nothing
    Attack(
        "streams that stay open",
        lambda n: post(_odd(n)) if n < 10_000 else b"",
        cut=False,
        every_s=0.0005,
    ),
    Attack("streams beyond the limit", lambda n: post(_odd(n))),
)


@dataclass
class _Outcome:
    """Of the attackers: octets sent, and seconds until each was cut."""

    sent: int
    cut_after: list[float]


def check() -> Iterator[Line]:
    """One attacker inbound, a hundred inbound, and one outbound, each attack on a fresh mesh.

    Latencies are medians: with a hundred attackers starting on two processors, what the slowest
    request beside took is the machine's schedule, not the proxy's doing.
    """
    yield at_least("R19", "attacks", len(ATTACKS), "attacks", 25)
    for attack in ATTACKS:
        with Mesh() as mesh:
            for label, source, ip, count in (
                ("inbound", mesh.outside, SERVER_IP, 1),
                ("outbound", mesh.client, SERVICE_IP, 1),
                ("inbound-100", mesh.outside, SERVER_IP, MANY),
            ):
                base = _median(_visit(mesh, 0.5))
                yield _fight(mesh, base, attack, label, source, ip, count)


def _fight(
    mesh: Mesh, base_ms: float, attack: Attack, label: str, source: Host, ip: str, count: int
) -> Line:
    """One line an attack: the proxy's memory, with all that is wrong as its note."""
    proxy = mesh.proxies[label == "outbound"]
    before = memory_kb(proxy)["pss_anon"]
    peak, times = before, []
    stop = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.is_set():
            peak = max(peak, memory_kb(proxy)["pss_anon"])
            times.extend(_visit(mesh, 0.2))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.monotonic()
    outcome = _attack(attack, source, ip, count)
    time.sleep(max(0.0, begun + WATCH_S - time.monotonic()))
    stop.set()
    watcher.join()
    # Outbound the attacker is the pod's own application, which may have as many streams as it likes.
    own = label == "outbound"
    limit = TOGETHER_KB if own or count > 1 else ALONE_KB
    wrong = []
    if attack.cut and (len(outcome.cut_after) < count or max(outcome.cut_after) > 5):
        wrong.append(f"{len(outcome.cut_after)} of {count} cut")
    grown = max(0, peak - before)
    if grown > limit:
        wrong.append(f"{grown} KiB")
    if not own and grown > max(OPEN_KB * count, 10 * outcome.sent // 1024):
        wrong.append(f"{grown} KiB for {outcome.sent // 1024} KiB")
    beside = _median(times)
    if not times:
        wrong.append("no answer beside")
    elif beside > max(2 * base_ms, CALM_MS):
        wrong.append(f"median beside {beside:.0f} ms, {base_ms:.0f} before")
    if not mesh.alive():
        wrong.append("crashed")
    name = f"{label}:{attack.name}".replace(" ", "-")
    note = ", ".join(wrong)
    return Line("R19", name, grown, "KiB", f"<={limit:g}", not wrong, note)


def _visit(mesh: Mesh, seconds: float) -> list[float]:
    """Milliseconds of requests through both proxies, every 10 ms; empty when one fails."""
    times = []
    end = time.monotonic() + seconds
    with (
        contextlib.suppress(OSError),
        contextlib.closing(mesh.client.connect(SERVICE_IP, HTTP, 5.0)) as peer,
    ):
        while time.monotonic() < end:
            begun = time.monotonic()
            peer.sendall(b"GET /status/204 HTTP/1.1\r\nHost: web.score\r\n\r\n")
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = peer.recv(4096)
                if not part:
                    return []
                answer += part
            times.append((time.monotonic() - begun) * 1000)
            time.sleep(0.01)
        return times
    return []


def _median(times: list[float]) -> float:
    return statistics.median(times) if times else 0.0


def _attack(attack: Attack, source: Host, ip: str, count: int) -> _Outcome:
    """Runs the attackers in a process of their own, so that they do not slow what is measured."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_attackers, args=(attack, source, ip, count, sender)
    )
    process.start()
    sender.close()
    try:
        outcome: _Outcome = receiver.recv()
    finally:
        process.join()
    return outcome


def _attackers(
    attack: Attack, source: Host, ip: str, count: int, answer: multiprocessing.connection.Connection
) -> None:
    os.nice(5)
    outcome = _Outcome(0, [])
    with selectors.DefaultSelector() as selector:
        begun = time.monotonic()
        for _ in range(count):
            with contextlib.suppress(OSError):
                peer = source.connect(ip, HTTP)
                peer.setblocking(False)
                both = selectors.EVENT_READ | selectors.EVENT_WRITE
                selector.register(peer, both, _Attacker(attack, peer))
        while selector.get_map() and time.monotonic() < begun + SECONDS:
            for key, events in selector.select(0.1):
                attacker: _Attacker = key.data
                if not attacker.move(events):
                    selector.unregister(key.fileobj)
                    attacker.peer.close()
                    outcome.cut_after.append(time.monotonic() - begun)
                    outcome.sent += attacker.sent
            if attack.every_s:
                time.sleep(attack.every_s)
        for key in list(selector.get_map().values()):
            outcome.sent += key.data.sent
            key.data.peer.close()
    answer.send(outcome)


class _Attacker:
    def __init__(self, attack: Attack, peer: socket.socket) -> None:
        self.attack, self.peer = attack, peer
        self.pending, self.steps, self.sent = attack.begin, 0, 0

    def move(self, events: int) -> bool:
        """Reads what is there and sends some more; false when the proxy has had enough."""
        try:
            if events & selectors.EVENT_READ and not self.peer.recv(1 << 16):
                return False
            if events & selectors.EVENT_WRITE:
                least = 1 if self.attack.every_s else 1 << 14
                while len(self.pending) < least:
                    step = self.attack.step(self.steps)
                    if not step:
                        break
                    self.pending += step
                    self.steps += 1
                sent = self.peer.send(self.pending)
                self.sent += sent
                self.pending = self.pending[sent:]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True
