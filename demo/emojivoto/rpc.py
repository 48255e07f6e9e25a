"""What the two gRPC programs share: a server from a table of methods, and its metrics."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import Message

from .. import http  # noqa: TID252 - the package is installed as linkerd._demo

PACKAGE = "emojivoto.v1"

#: A method: its request type and the function that answers it; raises `Failure` to fail.
Method = tuple[type[Message], Callable[[Any], Awaitable[Message]]]

# A pod's traffic is all in the cluster: a proxy for the internet must not see it.
OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.so_reuseport", 0)]


class Failure(Exception):
    """The call fails with status Unknown and this text, as a plain error does in Go."""


class Metrics:
    """Counters in Prometheus' text format: `grpc_server_*` as go-grpc-prometheus names them."""

    def __init__(self) -> None:
        self.handled: Counter[tuple[str, str, str]] = Counter()
        self.votes: Counter[str] = Counter()

    def text(self) -> str:
        """Returns the exposition."""
        lines = ["# TYPE grpc_server_handled_total counter"]
        for (service, method, code), count in self.handled.items():
            lines.append(
                f'grpc_server_handled_total{{grpc_code="{code}",grpc_method="{method}",'
                f'grpc_service="{service}",grpc_type="unary"}} {count}'
            )
        if self.votes:
            lines.append("# TYPE emojivoto_votes_total counter")
            lines += [
                f'emojivoto_votes_total{{emoji="{shortcode}"}} {count}'
                for shortcode, count in self.votes.items()
            ]
        return "\n".join(lines) + "\n"


async def start(
    service: str, methods: Mapping[str, Method], metrics: Metrics, port: int
) -> tuple[grpc.aio.Server, int]:
    """Starts a server for `service` on `port` (0: any) and returns it with its port."""
    full_name = f"{PACKAGE}.{service}"
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _counted(full_name, name, answer, metrics),
            request_deserializer=request.FromString,
            response_serializer=_serialize,
        )
        for name, (request, answer) in methods.items()
    }
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(full_name, handlers),))
    bound = server.add_insecure_port(f"[::]:{port}")
    await server.start()
    return server, bound


async def serve(
    service: str, methods: Mapping[str, Method], metrics: Metrics, port: int, prom_port: int
) -> None:
    """Serves calls on `port` and metrics on `prom_port` until SIGTERM or SIGINT."""
    stop = until_signal()

    async def metrics_page(request: http.Request) -> http.Response:
        if request.path != "/metrics":
            return http.Response(404, b"not found\n")
        return http.Response(body=metrics.text().encode(), content_type="text/plain; version=0.0.4")

    server, bound = await start(service, methods, metrics, port)
    await http.serve(metrics_page, "", prom_port)
    print(f"Starting grpc server on port [{bound}]", flush=True)
    await stop.wait()
    await server.stop(grace=1.0)


def until_signal() -> asyncio.Event:
    """Returns an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _counted(
    service: str, method: str, answer: Callable[[Any], Awaitable[Message]], metrics: Metrics
) -> Callable[[Any, Any], Awaitable[Message]]:
    async def call(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        try:
            response = await answer(request)
        except Failure as failure:
            metrics.handled[service, method, "Unknown"] += 1
            await context.abort(grpc.StatusCode.UNKNOWN, str(failure))
        metrics.handled[service, method, "OK"] += 1
        return response

    return call
