"""Outbound policies → the messages of `io.linkerd.proxy.outbound`.

Source: linkerd2 policy-controller/grpc/src/outbound.rs, outbound/{http,grpc,tcp}.rs.
"""

from __future__ import annotations

from linkerd.gen import destination_pb2, http_route_pb2, meta_pb2
from linkerd.gen import outbound_pb2 as pb
from linkerd.model.policy import (
    DETECT_TIMEOUT_S,
    Accrual,
    Fallback,
    Outbound,
    OutboundService,
    Retry,
    Timeouts,
    UndefinedPort,
)
from linkerd.translate.destination import resource
from linkerd.translate.net import duration, tcp_address

_QUEUE_CAPACITY = 100
_FAILFAST_S = 3.0
_DEFAULT_RTT_S = 0.03
_RTT_DECAY_S = 10.0
_RETRY_BYTES_MAX = 64 * 1024
_RETRY_BACKOFF_S = (0.025, 0.25, 1.0)


def policy(value: Outbound) -> bytes:
    """Returns the `OutboundPolicy` of a target."""
    if isinstance(value, OutboundService):
        message = _service(value)
    elif isinstance(value, Fallback):
        message = _fallback(value)
    else:
        message = _undefined_port(value)
    return message.SerializeToString()


def _service(value: OutboundService) -> pb.OutboundPolicy:
    parent = resource("core", "Service", value.name, value.namespace, value.port)
    message = pb.OutboundPolicy(metadata=parent)
    backend = balancer(value.authority, parent)
    opaque = _opaque(backend)
    match value.protocol:
        case "opaque":
            message.protocol.opaque.CopyFrom(opaque)
        case "http1":
            _http(message.protocol.http1, value, backend)
        case "http2":
            _http(message.protocol.http2, value, backend)
        case _:
            detect = message.protocol.detect
            detect.timeout.CopyFrom(duration(DETECT_TIMEOUT_S))
            detect.opaque.CopyFrom(opaque)
            _http(detect.http1, value, backend)
            _http(detect.http2, value, backend)
    return message


def balancer(authority: str, metadata: meta_pb2.Metadata) -> pb.Backend:
    """Returns the backend that balances over a service's endpoints."""
    message = pb.Backend(metadata=metadata, queue=_queue())
    message.balancer.discovery.dst.path = authority
    message.balancer.peak_ewma.default_rtt.CopyFrom(duration(_DEFAULT_RTT_S))
    message.balancer.peak_ewma.decay.CopyFrom(duration(_RTT_DECAY_S))
    return message


def _queue() -> pb.Queue:
    return pb.Queue(capacity=_QUEUE_CAPACITY, failfast_timeout=duration(_FAILFAST_S))


def _http(
    protocol: pb.ProxyProtocol.Http1 | pb.ProxyProtocol.Http2,
    value: OutboundService,
    backend: pb.Backend,
) -> None:
    route = pb.HttpRoute(metadata=meta_pb2.Metadata(default="http"))
    rule = route.rules.add()
    rule.matches.add().path.prefix = "/"
    rule.backends.first_available.backends.add().backend.CopyFrom(backend)
    _timeouts(rule, value.timeouts)
    if value.http_retry is not None:
        rule.retry.CopyFrom(_http_retry(value.http_retry))
    protocol.routes.append(route)
    if value.accrual is not None:
        protocol.failure_accrual.CopyFrom(_accrual(value.accrual))


def _opaque(backend: pb.Backend) -> pb.ProxyProtocol.Opaque:
    route = pb.OpaqueRoute(metadata=meta_pb2.Metadata(default="opaq"))
    rule = route.rules.add()
    rule.backends.first_available.backends.add().backend.CopyFrom(backend)
    return pb.ProxyProtocol.Opaque(routes=[route])


def _timeouts(rule: pb.HttpRoute.Rule, timeouts: Timeouts) -> None:
    message = http_route_pb2.Timeouts()
    if timeouts.request_s:
        message.request.CopyFrom(duration(timeouts.request_s))
        rule.requestTimeout.CopyFrom(duration(timeouts.request_s))
    if timeouts.response_s:
        message.response.CopyFrom(duration(timeouts.response_s))
    if timeouts.idle_s:
        message.idle.CopyFrom(duration(timeouts.idle_s))
    if message.ByteSize():
        rule.timeouts.CopyFrom(message)


def _http_retry(retry: Retry) -> pb.HttpRoute.Retry:
    message = pb.HttpRoute.Retry(
        max_retries=retry.limit,
        max_request_bytes=_RETRY_BYTES_MAX,
        backoff=_backoff(*_RETRY_BACKOFF_S),
    )
    message.conditions.SetInParent()
    for low, high in retry.statuses:
        message.conditions.status_ranges.add(start=low, end=high)
    if retry.timeout_s:
        message.timeout.CopyFrom(duration(retry.timeout_s))
    return message


def _backoff(min_s: float, max_s: float, jitter: float) -> pb.ExponentialBackoff:
    return pb.ExponentialBackoff(
        min_backoff=duration(min_s), max_backoff=duration(max_s), jitter_ratio=jitter
    )


def _accrual(accrual: Accrual) -> pb.FailureAccrual:
    message = pb.FailureAccrual()
    backoff = _backoff(accrual.min_penalty_s, accrual.max_penalty_s, accrual.jitter)
    if not accrual.unified:
        message.consecutive_failures.max_failures = accrual.max_failures
        message.consecutive_failures.backoff.CopyFrom(backoff)
        return message
    backoff.respect_retry_after_hint = accrual.honor_retry_after
    unified = message.unified
    unified.success_rate_threshold = accrual.success_rate
    unified.decay.CopyFrom(duration(accrual.window_s))
    unified.min_requests = accrual.min_requests
    unified.max_consecutive_failures = accrual.max_failures
    unified.backoff.CopyFrom(backoff)
    return message


def _fallback(value: Fallback) -> pb.OutboundPolicy:
    name = meta_pb2.Metadata(default="egress-fallback")
    backend = pb.Backend(metadata=name, queue=_queue())
    backend.forward.CopyFrom(
        destination_pb2.WeightedAddr(addr=tcp_address(value.ip, value.port), weight=1)
    )
    message = pb.OutboundPolicy(metadata=name)
    detect = message.protocol.detect
    detect.timeout.CopyFrom(duration(DETECT_TIMEOUT_S))
    opaque = pb.OpaqueRoute(metadata=name)
    opaque.rules.add().backends.first_available.backends.add().backend.CopyFrom(backend)
    detect.opaque.routes.append(opaque)
    http = pb.HttpRoute(metadata=name)
    rule = http.rules.add()
    rule.matches.add().SetInParent()
    rule.backends.first_available.backends.add().backend.CopyFrom(backend)
    detect.http1.routes.append(http)
    detect.http2.routes.append(http)
    return message


def _undefined_port(value: UndefinedPort) -> pb.OutboundPolicy:
    parent = resource("core", "Service", value.name, value.namespace, value.port)
    message = pb.OutboundPolicy(metadata=parent)
    route = pb.OpaqueRoute(metadata=meta_pb2.Metadata(default="undefined-port"))
    rule = route.rules.add()
    rule.backends.empty.SetInParent()
    rule.filters.add().forbidden.SetInParent()
    message.protocol.opaque.routes.append(route)
    return message
