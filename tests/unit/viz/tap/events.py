"""Tap events in the words of the tests."""

from __future__ import annotations

from typing import Any

from linkerd.gen import viz_pb2 as viz
from linkerd.gen import viz_tap_pb2 as tap

IPV4 = 0x0A000001


def an_event(
    direction: Any = tap.TapEvent.OUTBOUND,
    *,
    source: dict[str, str] | None = None,
    destination: dict[str, str] | None = None,
    route: dict[str, str] | None = None,
) -> tap.TapEvent:
    """An event from 10.0.0.1:4000 to 10.0.0.2:80, without its middle."""
    event = tap.TapEvent(proxy_direction=direction)
    event.source.ip.ipv4, event.source.port = IPV4, 4000
    event.destination.ip.ipv4, event.destination.port = IPV4 + 1, 80
    event.source_meta.labels.update(source or {})
    event.destination_meta.labels.update(destination or {"tls": "true"})
    event.route_meta.labels.update(route or {})
    return event


def a_request(path: str = "/api/vote", stream: int = 2, **options: object) -> tap.TapEvent:
    """A request's beginning."""
    event = an_event(**options)  # type: ignore[arg-type]
    init = event.http.request_init
    init.id.base, init.id.stream = 1, stream
    init.method.registered = viz.HttpMethod.GET
    init.authority, init.path = "web-svc:80", path
    return event


def a_response(status: int = 200, stream: int = 2, **options: object) -> tap.TapEvent:
    """A response's beginning, 1.5 ms after the request's."""
    event = an_event(**options)  # type: ignore[arg-type]
    init = event.http.response_init
    init.id.base, init.id.stream = 1, stream
    init.http_status = status
    init.since_request_init.nanos = 1_500_000
    return event


def an_end(
    stream: int = 2,
    *,
    grpc: int | None = None,
    reset: int | None = None,
    nanos: int = 2_000_000,
    **options: object,
) -> tap.TapEvent:
    """A response's end, after 2 ms."""
    event = an_event(**options)  # type: ignore[arg-type]
    end = event.http.response_end
    end.id.base, end.id.stream = 1, stream
    end.since_request_init.nanos = nanos
    end.since_response_init.nanos = 500_000
    end.response_bytes = 42
    if grpc is not None:
        end.eos.grpc_status_code = grpc
    if reset is not None:
        end.eos.reset_error_code = reset
    return event
