"""The gRPC edge: errors as statuses, metrics, one canonical line per call.

    async with serve("0.0.0.0", 8086, service("pkg.Service", {...}), registry=registry) as port: ...

A handler raises `LinkerdError` to end a call: its class carries the status. Anything else is
logged and answered as INTERNAL. Handlers give bytes that were encoded elsewhere, so that one
encoding serves many streams. A streaming handler is synchronous: it returns a `Feed`, which the call
asks for messages whenever it is woken and its reader has room.
Source: linkerd2 pkg/prometheus (metric names and buckets of grpc_server_*).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol
from urllib.parse import quote

from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from linkerd import log, runtime
from linkerd.errors import LinkerdError, WireError
from linkerd.serve import hpack, http2
from linkerd.serve.readiness import Readiness

_log = log.logger(__name__)

_HANDLING_S = (0.1, 1.0, 300.0, 3600.0)
_HEAD = b"\x88" + hpack.literal(b"content-type", b"application/grpc")
_DETAIL_BYTES_MAX = 1024


class Code(IntEnum):
    """Status codes; their names are those of Go's metrics."""

    OK = 0
    Canceled = 1
    Unknown = 2
    InvalidArgument = 3
    DeadlineExceeded = 4
    NotFound = 5
    AlreadyExists = 6
    PermissionDenied = 7
    ResourceExhausted = 8
    FailedPrecondition = 9
    Aborted = 10
    OutOfRange = 11
    Unimplemented = 12
    Internal = 13
    Unavailable = 14
    DataLoss = 15
    Unauthenticated = 16


class Message(Protocol):
    """A class of protobuf messages."""

    @classmethod
    def FromString(cls, s: bytes) -> Any:  # noqa: N802
        """Returns the message in `s`."""


class Reader(Protocol):
    """Who reads a feed."""

    def wake(self) -> None:
        """Is told that there may be something to pull; may pull at once, never raises."""


class Feed(Protocol):
    """What a streaming handler returns."""

    @property
    def ended(self) -> bool:
        """Whether nothing comes after what was pulled last."""

    def pull(self) -> Sequence[bytes]:
        """Returns what is new since the last time; raises LinkerdError to end the call."""

    def close(self) -> None:
        """Is called once, when the call is over."""


@dataclass(frozen=True, slots=True)
class Method:
    """How one method is answered."""

    request: type[Message]
    handle: Callable[..., Any]
    streams: bool


Service = Mapping[str, Method]
"""Paths to methods."""


def unary(request: type[Message], handle: Callable[[Any], Awaitable[bytes]]) -> Method:
    """Returns a method with one encoded answer."""
    return Method(request, handle, streams=False)


def streaming(request: type[Message], handle: Callable[[Any, Reader], Feed]) -> Method:
    """Returns a method with a stream of encoded answers."""
    return Method(request, handle, streams=True)


def service(name: str, methods: Mapping[str, Method]) -> Service:
    """Returns the methods of the service `name` (with its package)."""
    return {f"/{name}/{method}": how for method, how in methods.items()}


@contextlib.asynccontextmanager
async def serve(
    host: str,
    port: int,
    *services: Service,
    registry: CollectorRegistry,
    gate: Readiness | None = None,
    grace_s: float = 5.0,
) -> AsyncIterator[int]:
    """Serves gRPC without TLS (the pod's proxy adds it) while the context is open; yields the port.

    Args:
        host: Address to bind.
        port: 0 picks one.
        services: What is served.
        registry: Where the grpc_server_* metrics go.
        gate: Calls are held until this is ready.
        grace_s: On leaving, open calls are given this long, then broken off.

    Raises:
        OSError: the address cannot be bound.
    """
    edge = _Edge({path: how for each in services for path, how in each.items()}, gate)
    registry.register(edge)
    endpoint = http2.Endpoint(lambda *request: _Call(edge, *request))
    opening = asyncio.create_task(edge.open())
    try:
        yield await endpoint.listen(host, port)
    finally:
        opening.cancel()
        await endpoint.close(grace_s)
        for task in list(edge.tasks):
            task.cancel()


class _Counts:
    """One method's measures."""

    __slots__ = ("buckets", "handled", "labels", "messages_sent", "method", "seconds", "started")

    def __init__(self, path: str, method: Method) -> None:
        service, _, name = path.strip("/").rpartition("/")
        self.labels = (service, name, "server_stream" if method.streams else "unary")
        self.method = method
        self.started = 0
        self.messages_sent = 0
        self.handled: dict[Code, int] = {}
        self.buckets = [0] * (len(_HANDLING_S) + 1)
        self.seconds = 0.0

    def ended(self, code: Code, seconds: float) -> None:
        self.handled[code] = self.handled.get(code, 0) + 1
        self.seconds += seconds
        at = sum(seconds > bound for bound in _HANDLING_S)
        self.buckets[at] += 1


class _Edge(Collector):
    """What the calls of one server share."""

    def __init__(self, methods: Mapping[str, Method], gate: Readiness | None) -> None:
        self.methods = {path.encode(): _Counts(path, how) for path, how in methods.items()}
        self.tasks: set[asyncio.Task[Any]] = set()
        self._gate = gate
        self._held: dict[_Call, None] = {}

    def admit(self, call: _Call) -> bool:
        """Returns whether a call may begin; else it begins later."""
        if self._gate is None or self._gate.ready:
            return True
        self._held[call] = None
        return False

    def forget(self, call: _Call) -> None:
        """Takes back a call that was held."""
        self._held.pop(call, None)

    async def open(self) -> None:
        """Begins the calls that were held, once the gate is ready."""
        if self._gate is not None:
            await self._gate.wait()
            held, self._held = self._held, {}
            for call in held:
                call.begin()

    def collect(self) -> Iterable[Metric]:
        labels = ("grpc_service", "grpc_method", "grpc_type")
        started = CounterMetricFamily("grpc_server_started", "Calls that began.", labels=labels)
        received = CounterMetricFamily(
            "grpc_server_msg_received", "Messages received.", labels=labels
        )
        sent = CounterMetricFamily("grpc_server_msg_sent", "Messages sent.", labels=labels)
        handled = CounterMetricFamily(
            "grpc_server_handled", "Calls that ended.", labels=(*labels, "grpc_code")
        )
        handling = HistogramMetricFamily(
            "grpc_server_handling_seconds", "Duration of calls in seconds.", labels=labels
        )
        for counts in self.methods.values():
            if not counts.started:
                continue
            started.add_metric(counts.labels, counts.started)
            received.add_metric(counts.labels, counts.started)
            sent.add_metric(counts.labels, counts.messages_sent)
            for code, number in counts.handled.items():
                handled.add_metric((*counts.labels, code.name), number)
            total = 0
            buckets = []
            for bound, number in zip((*map(str, _HANDLING_S), "+Inf"), counts.buckets, strict=True):
                total += number
                buckets.append((bound, float(total)))
            handling.add_metric(counts.labels, buckets, counts.seconds)
        return (started, handled, received, sent, handling)


class _Call(http2.Stream):
    """One call; the one place of the edge that catches `Exception`."""

    __slots__ = ("_answered", "_counts", "_edge", "_feed", "_messages", "_started_s", "_task")

    def __init__(
        self, edge: _Edge, connection: http2.Connection, id: int, fields: list[hpack.Field]
    ) -> None:
        super().__init__(connection, id, fields)
        self._edge = edge
        self._counts: _Counts | None = None
        self._feed: Feed | None = None
        self._task: asyncio.Task[Any] | None = None
        self._answered = False
        self._messages = 0
        self._started_s = 0.0

    def requested(self) -> None:
        """Begins, or waits for the gate."""
        headers = dict(self.fields)
        self.fields = []
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            self.finish(hpack.literal(b":status", b"415"))
            return
        path = headers.get(b":path", b"")
        self._counts = counts = self._edge.methods.get(path)
        if counts is None:
            name = path.decode("ascii", "replace")[:200]
            self._end(Code.Unimplemented, f"unknown method {name}")
            return
        counts.started += 1
        self._started_s = time.monotonic()
        if self._edge.admit(self):
            self.begin()

    def begin(self) -> None:
        """Hands the request to its handler."""
        counts = self._counts
        assert counts is not None
        body, self.body = self.body, b""
        try:
            request = counts.method.request.FromString(http2.message_of(body))
            if counts.method.streams:
                self._feed = counts.method.handle(request, self)
                self._pull()
            else:
                runtime.spawn(
                    self._answer(counts.method.handle, request),
                    name=counts.labels[1],
                    into=self._edge.tasks,
                )
        except DecodeError:
            self._fail(WireError("the request cannot be decoded"))
        except Exception as error:  # noqa: BLE001  (see the class)
            self._fail(error)

    def wake(self) -> None:
        """Sends what the feed has, unless the reader has no room: then it is asked later."""
        if not self.choked:
            self._pull()

    def writable(self) -> None:
        """Sends what has come up meanwhile."""
        self._pull()

    def closed(self) -> None:
        """Ends the call on the peer's behalf."""
        self._edge.forget(self)
        if self._task is not None:
            self._task.cancel()
        self._done(Code.Canceled, "")

    async def _answer(self, handle: Callable[[Any], Awaitable[bytes]], request: Any) -> None:
        self._task = asyncio.current_task()
        try:
            answer = await handle(request)
        except Exception as error:  # noqa: BLE001  (see the class)
            self._task = None
            self._fail(error)
            return
        self._task = None
        self._send(answer)
        self._end(Code.OK)

    def _pull(self) -> None:
        feed = self._feed
        if feed is None:
            return
        try:
            for message in feed.pull():
                self._send(message)
        except Exception as error:  # noqa: BLE001  (see the class)
            self._fail(error)
            return
        if feed.ended:
            self._end(Code.OK)

    def _send(self, message: bytes) -> None:
        if not self._answered:
            self._answered = True
            self.head(_HEAD)
        self._messages += 1
        self._counts.messages_sent += 1  # type: ignore[union-attr]
        self.send(message)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, LinkerdError):
            self._end(Code(error.grpc_status), error.message)
        else:
            name = self._counts.labels[1] if self._counts else ""
            _log.error("call failed", method=name, error=repr(error), exc_info=True)
            self._end(Code.Internal, "internal error")

    def _end(self, code: Code, detail: str = "") -> None:
        self._done(code, detail)
        block = hpack.literal(b"grpc-status", b"%d" % code)
        if detail:
            text = quote(detail[:_DETAIL_BYTES_MAX], safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}~")
            block += hpack.literal(b"grpc-message", text.encode())
        self.finish(block if self._answered else _HEAD + block)

    def _done(self, code: Code, detail: str) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()
        counts, self._counts = self._counts, None
        if counts is None:
            return
        seconds = time.monotonic() - self._started_s
        counts.ended(code, seconds)
        _log.debug(
            "call ended",
            method=counts.labels[1],
            peer=self.connection.peer,
            code=code.name,
            messages=self._messages,
            seconds=round(seconds, 3),
            detail=detail,
        )
