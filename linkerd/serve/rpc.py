"""The gRPC edge: server options, errors as statuses, metrics, one canonical line per stream.

    async with serve("0.0.0.0", 8086, register, registry=registry) as port: ...

A handler raises `LinkerdError` to end a call: its class carries the status. Anything else is
logged and answered as INTERNAL. `unary` and `streaming` make handlers that send bytes encoded
elsewhere, so that one encoding serves many streams.
Source: linkerd2 pkg/prometheus (metric names and buckets of grpc_server_*).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry, Counter, Histogram

from linkerd import log
from linkerd.errors import LinkerdError

_log = log.logger(__name__)

_REQUEST_BYTES_MAX = 64 * 1024
_STREAMS_MAX = 100_000
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_HANDLING_S = (0.1, 1.0, 300.0, 3600.0)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Message(Protocol):
    """A class of protobuf messages."""

    @classmethod
    def FromString(cls, s: bytes) -> Any:  # noqa: N802
        """Returns the message in `s`."""


def unary(
    request: type[Message], handle: Callable[[Any, Any], Awaitable[bytes]]
) -> grpc.RpcMethodHandler[Any, Any]:
    """Returns a handler for one request and one encoded answer."""
    return grpc.unary_unary_rpc_method_handler(handle, request_deserializer=request.FromString)


def streaming(
    request: type[Message], handle: Callable[[Any, Any], AsyncIterator[bytes]]
) -> grpc.RpcMethodHandler[Any, Any]:
    """Returns a handler for one request and a stream of encoded answers."""
    return grpc.unary_stream_rpc_method_handler(handle, request_deserializer=request.FromString)


def service(
    name: str, methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
) -> Callable[[grpc.aio.Server], None]:
    """Returns what registers `methods` of the service `name` (with its package) at a server."""
    handlers = grpc.method_handlers_generic_handler(name, dict(methods))
    return lambda server: server.add_generic_rpc_handlers((handlers,))


@contextlib.asynccontextmanager
async def serve(
    host: str,
    port: int,
    *register: Callable[[grpc.aio.Server], None],
    registry: CollectorRegistry,
    grace_s: float = 5.0,
) -> AsyncIterator[int]:
    """Serves gRPC without TLS (the pod's proxy adds it) while the context is open; yields the port.

    Args:
        host: Address to bind.
        port: 0 picks one.
        register: Each adds services: `service(…)` or generated `add_…Servicer_to_server`.
        registry: Where the grpc_server_* metrics go.
        grace_s: On leaving, open calls are given this long, then cancelled.

    Raises:
        OSError: the address cannot be bound.
    """
    server = grpc.aio.server(
        interceptors=(_Interceptor(_Metrics(registry)),),
        options=(
            ("grpc.max_receive_message_length", _REQUEST_BYTES_MAX),
            ("grpc.max_concurrent_streams", _STREAMS_MAX),
            ("grpc.http2.min_ping_interval_without_data_ms", 1000),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.keepalive_time_ms", 120_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.so_reuseport", 0),
        ),
    )
    for add in register:
        add(server)
    try:
        bound = server.add_insecure_port(f"{_bracketed(host)}:{port}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error}") from None
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(grace_s)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Metrics:
    """Families of one server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("grpc_service", "grpc_method", "grpc_type")
        self.started = Counter(
            "grpc_server_started", "Calls that began.", labels, registry=registry
        )
        self.handled = Counter(
            "grpc_server_handled", "Calls that ended.", (*labels, "grpc_code"), registry=registry
        )
        self.received = Counter(
            "grpc_server_msg_received", "Messages received.", labels, registry=registry
        )
        self.sent = Counter("grpc_server_msg_sent", "Messages sent.", labels, registry=registry)
        self.handling = Histogram(
            "grpc_server_handling_seconds",
            "Duration of calls in seconds.",
            labels,
            buckets=_HANDLING_S,
            registry=registry,
        )


class _Call:
    """One call's measures and its end."""

    def __init__(self, metrics: _Metrics, method: str, type: str, context: Context) -> None:
        service, _, name = method.strip("/").rpartition("/")
        self._labels = (service, name, type)
        self._metrics = metrics
        self._context = context
        self._started_s = time.monotonic()
        self._method = name
        self.messages = 0
        metrics.started.labels(*self._labels).inc()
        metrics.received.labels(*self._labels).inc()
        self._sent = metrics.sent.labels(*self._labels)

    def sent(self) -> None:
        self.messages += 1
        self._sent.inc()

    def end(self, code: grpc.StatusCode, detail: str = "") -> None:
        seconds = time.monotonic() - self._started_s
        self._metrics.handled.labels(*self._labels, _camel(code)).inc()
        self._metrics.handling.labels(*self._labels).observe(seconds)
        _log.debug(
            "call ended",
            method=self._method,
            peer=self._context.peer(),
            code=code.name,
            messages=self.messages,
            seconds=round(seconds, 3),
            detail=detail,
        )

    async def fail(self, error: Exception) -> None:
        if isinstance(error, LinkerdError):
            code = _CODES.get(error.grpc_status, grpc.StatusCode.INTERNAL)
            detail = error.message
        else:
            code, detail = grpc.StatusCode.INTERNAL, "internal error"
            _log.error("call failed", method=self._method, exc_info=True)
        self.end(code, detail)
        await self._context.abort(code, detail)


class _Interceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler; the one place of the edge that catches `Exception`."""

    def __init__(self, metrics: _Metrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or handler.request_streaming:
            return handler
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(handler.unary_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler.unary_unary, method),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, handle: Any, method: str) -> Any:
        async def call(request: Any, context: Context) -> Any:
            call = _Call(self._metrics, method, "unary", context)
            try:
                answer = await handle(request, context)
            except asyncio.CancelledError:
                call.end(grpc.StatusCode.CANCELLED)
                raise
            except grpc.aio.AbortError:
                call.end(_aborted(context))
                raise
            except Exception as error:  # noqa: BLE001  (see the class)
                await call.fail(error)
                return None
            call.sent()
            call.end(grpc.StatusCode.OK)
            return answer

        return call

    def _streaming(self, handle: Any, method: str) -> Any:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            call = _Call(self._metrics, method, "server_stream", context)
            try:
                async with contextlib.aclosing(handle(request, context)) as messages:
                    async for message in messages:
                        call.sent()
                        yield message
            except (asyncio.CancelledError, GeneratorExit):
                call.end(grpc.StatusCode.CANCELLED)
                raise
            except grpc.aio.AbortError:
                call.end(_aborted(context))
                raise
            except Exception as error:  # noqa: BLE001  (see the class)
                await call.fail(error)
                return
            call.end(grpc.StatusCode.OK)

        return call


def _aborted(context: Context) -> grpc.StatusCode:
    code: Any = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def _camel(code: grpc.StatusCode) -> str:
    """`INVALID_ARGUMENT` → `InvalidArgument`, as Go's metrics write it; OK stays."""
    if code is grpc.StatusCode.OK:
        return "OK"
    return "".join(part.capitalize() for part in code.name.split("_"))
