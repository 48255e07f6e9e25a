"""Events → the lines and JSON that `linkerd viz tap` prints. Pure.

Source: linkerd2 viz/cmd/tap.go (key order, units, JSON keys); docs of 2.8 to 2.20.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration

from linkerd.gen import viz_net_pb2
from linkerd.gen import viz_pb2 as viz
from linkerd.gen import viz_tap_pb2 as tap
from linkerd.viz.tap.hydrate import text

GRPC_CODES = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)
"""Names of gRPC status codes, by number, as Go writes them."""

_DIRECTION = {tap.TapEvent.INBOUND: "in ", tap.TapEvent.OUTBOUND: "out"}


def line(event: tap.TapEvent, *, wide: bool = False) -> str:
    """Returns one event as a line without its end; control characters are escaped.

    Args:
        event: From the tap API.
        wide: Append everything that is known of both ends and of the route.
    """
    inbound = event.proxy_direction == tap.TapEvent.INBOUND
    peer = event.source_meta if inbound else event.destination_meta
    flow = (
        f"proxy={_DIRECTION.get(event.proxy_direction, '???')} "
        f"src={address(event.source)} dst={address(event.destination)} "
        f"tls={peer.labels.get('tls', '')}"
    )
    kind = event.http.WhichOneof("event")
    if kind == "request_init":
        init = event.http.request_init
        words = (
            f"req id={_id(init.id)} {flow} :method={method(init.method)} "
            f":authority={init.authority} :path={init.path}"
        )
    elif kind == "response_init":
        response = event.http.response_init
        words = (
            f"rsp id={_id(response.id)} {flow} :status={response.http_status} "
            f"latency={_micros(response.since_request_init)}µs"
        )
    elif kind == "response_end":
        end = event.http.response_end
        words = (
            f"end id={_id(end.id)} {flow} {_eos(end.eos)}"
            f"duration={_micros(end.since_response_init)}µs "
            f"response-length={end.response_bytes}B"
        )
    else:
        words = f"unknown {flow}"
    if wide:
        words += _labels("src", event.source_meta.labels)
        words += _labels("dst", event.destination_meta.labels)
        words += _labels("rt", event.route_meta.labels)
    return _printable(words)


def _printable(words: str) -> str:
    """Paths come from strangers: nothing in them may drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def _labels(prefix: str, labels: Mapping[str, str]) -> str:
    return "".join(f" {prefix}_{key}={labels[key]}" for key in sorted(labels))


def _id(stream: tap.TapEvent.Http.StreamId) -> str:
    return f"{stream.base}:{stream.stream}"


def _eos(eos: viz.Eos) -> str:
    kind = eos.WhichOneof("end")
    if kind == "grpc_status_code":
        return f"grpc-status={grpc_code(eos.grpc_status_code)} "
    if kind == "reset_error_code":
        return f"reset-error={eos.reset_error_code} "
    return ""


def grpc_code(code: int) -> str:
    """Returns the name of a gRPC status code."""
    return GRPC_CODES[code] if code < len(GRPC_CODES) else f"Code({code})"


def _micros(duration: Duration) -> int:
    return duration.seconds * 1_000_000 + duration.nanos // 1000


def address(where: viz_net_pb2.TcpAddress) -> str:
    """Returns `ip:port`, IPv6 in brackets."""
    ip = text(where.ip)
    return f"[{ip}]:{where.port}" if ":" in ip else f"{ip}:{where.port}"


def method(wanted: viz.HttpMethod) -> str:
    """Returns a request's method."""
    if wanted.WhichOneof("type") == "unregistered":
        return wanted.unregistered
    return viz.HttpMethod.Registered.Name(wanted.registered)


def _scheme(wanted: viz.Scheme) -> str:
    kind = wanted.WhichOneof("type")
    if kind == "unregistered":
        return wanted.unregistered
    return viz.Scheme.Registered.Name(wanted.registered) if kind else ""


def document(event: tap.TapEvent) -> dict[str, Any]:
    """Returns one event as `-o json` shows it and as the dashboard gets it."""
    found: dict[str, Any] = {
        "source": _end(event.source, event.source_meta.labels),
        "destination": _end(event.destination, event.destination_meta.labels),
        "routeMeta": dict(sorted(event.route_meta.labels.items())),
        "proxyDirection": tap.TapEvent.ProxyDirection.Name(event.proxy_direction),
    }
    kind = event.http.WhichOneof("event")
    if kind == "request_init":
        init = event.http.request_init
        found["requestInitEvent"] = {
            "id": _stream(init.id),
            "method": method(init.method),
            "scheme": _scheme(init.scheme),
            "authority": init.authority,
            "path": init.path,
            "headers": _headers(init.headers),
        }
    elif kind == "response_init":
        response = event.http.response_init
        found["responseInitEvent"] = {
            "id": _stream(response.id),
            "sinceRequestInit": _duration(response.since_request_init),
            "httpStatus": response.http_status,
            "headers": _headers(response.headers),
        }
    elif kind == "response_end":
        end = event.http.response_end
        last: dict[str, Any] = {
            "id": _stream(end.id),
            "sinceRequestInit": _duration(end.since_request_init),
            "sinceResponseInit": _duration(end.since_response_init),
            "responseBytes": end.response_bytes,
            "trailers": _headers(end.trailers),
        }
        which = end.eos.WhichOneof("end")
        if which == "grpc_status_code":
            last["grpcStatusCode"] = end.eos.grpc_status_code
        elif which == "reset_error_code":
            last["resetErrorCode"] = end.eos.reset_error_code
        found["responseEndEvent"] = last
    return found


def as_json(event: tap.TapEvent) -> str:
    """Returns one event as indented JSON."""
    return json.dumps(document(event), indent=2, ensure_ascii=False)


def _end(where: viz_net_pb2.TcpAddress, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"ip": text(where.ip), "port": where.port, "metadata": dict(sorted(labels.items()))}


def _stream(stream: tap.TapEvent.Http.StreamId) -> dict[str, int]:
    return {"base": stream.base, "stream": stream.stream}


def _duration(duration: Duration) -> dict[str, int]:
    found = {"seconds": duration.seconds, "nanos": duration.nanos}
    return {key: value for key, value in found.items() if value}


def _headers(headers: viz.Headers) -> list[dict[str, str]]:
    found = []
    for header in headers.headers:
        if header.WhichOneof("value") == "value_bin":
            found.append({"name": header.name, "valueBin": header.value_bin.hex()})
        else:
            found.append({"name": header.name, "valueStr": header.value_str})
    return found
