"""Outbound policies → the messages of `io.linkerd.proxy.outbound`.

Source: linkerd2 policy-controller/grpc/src/outbound.rs, outbound/{http,grpc,tls,tcp}.rs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linkerd.gen import destination_pb2, grpc_route_pb2, http_route_pb2, meta_pb2, opaque_route_pb2
from linkerd.gen import outbound_pb2 as pb
from linkerd.model.outbound import (
    Fallback,
    Outbound,
    OutboundEgress,
    OutboundService,
    UndefinedPort,
)
from linkerd.model.policy import (
    DETECT_TIMEOUT_S,
    POLICY_GROUP,
    Accrual,
    Bias,
    Reference,
    Retry,
    Timeouts,
)
from linkerd.model.routes import (
    Backend,
    Failure,
    Filter,
    GrpcMatch,
    HeaderChange,
    HttpMatch,
    Mirror,
    Redirect,
    Rewrite,
    Route,
    Rule,
)
from linkerd.translate import routes as translate
from linkerd.translate.net import duration, tcp_address
from linkerd.translate.routes import metadata

_QUEUE_CAPACITY = 100
_FAILFAST_S = 3.0
_DEFAULT_RTT_S = 0.03
_RTT_DECAY_S = 10.0
_PENALTY_DECAY_S = 10.0
_RETRY_BYTES_MAX = 64 * 1024
_RETRY_BACKOFF_S = (0.025, 0.25, 1.0)

_NOT_ALLOWED = "traffic not allowed"
_HTTP_FORBIDDEN = Failure(403, _NOT_ALLOWED)
_GRPC_FORBIDDEN = Failure(7, _NOT_ALLOWED)
_BACKEND_STATUS = 500
"""What backends that are not there answer; also as gRPC code, as Linkerd's do."""

_ANY_HTTP = HttpMatch(path=("prefix", "/"))
_ANY_GRPC = GrpcMatch()


@dataclass(frozen=True, slots=True)
class _Context:
    """What backends and rules are made with."""

    backend: pb.Backend
    address: tuple[str, int] | None
    bias: Bias | None
    obey_headers: bool


_Filters = tuple[Filter, ...]
_SetFilters = Callable[[Any, _Filters, _Context], None]
"""Writes filters into a rule or a backend of its kind."""


def policy(value: Outbound, *, allow_l5d_request_headers: bool = False) -> bytes:
    """Returns the `OutboundPolicy` of a target.

    Args:
        value: The policy.
        allow_l5d_request_headers: Whether routes obey timeouts and retries in request headers.
    """
    if isinstance(value, OutboundService):
        reference = Reference("", "core", "Service", value.name, value.namespace, value.port)
        backend = pb.Backend(metadata=metadata(reference), queue=_queue())
        _balance(backend, value.authority, value.bias)
        context = _Context(backend, None, value.bias, allow_l5d_request_headers)
        message = _parent(value, reference, context)
    elif isinstance(value, OutboundEgress):
        reference = Reference(
            "", POLICY_GROUP, "EgressNetwork", value.name, value.namespace, value.port
        )
        address = (value.ip, value.port)
        backend = _forward(reference, address, 1)
        message = _parent(
            value, reference, _Context(backend, address, None, allow_l5d_request_headers)
        )
    elif isinstance(value, Fallback):
        message = _fallback(value)
    else:
        message = _undefined_port(value)
    return message.SerializeToString()


def _parent(
    value: OutboundService | OutboundEgress, reference: Reference, context: _Context
) -> pb.OutboundPolicy:
    message = pb.OutboundPolicy(metadata=metadata(reference))
    protocol, routes = message.protocol, value.routes
    match value.protocol:
        case "opaque":
            _opaque(protocol.opaque, value, context, routes.tcp)
        case "http1":
            _http(protocol.http1, value, context)
        case "http2" if routes.grpc:
            _grpc(protocol.grpc, value, context)
        case "http2":
            _http(protocol.http2, value, context)
        case _ if routes.grpc:
            _grpc(protocol.grpc, value, context)
        case _ if routes.tls and not routes.http:
            _tls(protocol.tls, value, context)
        case _ if routes.tcp and not routes.http:
            _opaque(protocol.opaque, value, context, routes.tcp)
        case _:
            detect = protocol.detect
            detect.timeout.CopyFrom(duration(DETECT_TIMEOUT_S))
            _opaque(detect.opaque, value, context, ())
            _http(detect.http1, value, context)
            detect.http2.routes.extend(detect.http1.routes)
            if value.accrual is not None:
                detect.http2.failure_accrual.CopyFrom(detect.http1.failure_accrual)
    return message


def _default_name(value: OutboundService | OutboundEgress, kind: str, service: str) -> str:
    if isinstance(value, OutboundService):
        return service
    return f"{kind}-egress-{'allow' if value.allow else 'deny'}"


def _denied(value: OutboundService | OutboundEgress) -> bool:
    return isinstance(value, OutboundEgress) and not value.allow


# HTTP and gRPC


def _http(protocol: Any, value: OutboundService | OutboundEgress, context: _Context) -> None:
    for route in value.routes.http:
        _http_route(protocol.routes.add(), route, context)
    if not value.routes.http or isinstance(value, OutboundEgress):
        rule = Rule(
            (_ANY_HTTP,),
            (_HTTP_FORBIDDEN,) if _denied(value) else (),
            timeouts=value.timeouts,
            retry=value.http_retry,
        )
        default = Route(Reference(default=_default_name(value, "http", "http")), (), (rule,))
        _http_route(protocol.routes.add(), default, context)
    if value.accrual is not None:
        protocol.failure_accrual.CopyFrom(_accrual(value.accrual))


def _grpc(protocol: Any, value: OutboundService | OutboundEgress, context: _Context) -> None:
    for route in value.routes.grpc:
        _grpc_route(protocol.routes.add(), route, context)
    if isinstance(value, OutboundEgress):
        rule = Rule(
            (_ANY_GRPC,),
            (_GRPC_FORBIDDEN,) if _denied(value) else (),
            timeouts=value.timeouts,
            retry=value.grpc_retry,
        )
        default = Route(Reference(default=_default_name(value, "grpc", "")), (), (rule,))
        _grpc_route(protocol.routes.add(), default, context)
    if value.accrual is not None:
        protocol.failure_accrual.CopyFrom(_accrual(value.accrual))


def _http_route(message: pb.HttpRoute, route: Route, context: _Context) -> None:
    message.metadata.CopyFrom(metadata(route.reference))
    message.hosts.extend(translate.host_match(host) for host in route.hosts)
    for rule in route.rules:
        made = message.rules.add()
        made.matches.extend(
            translate.http_match(each) for each in rule.matches if isinstance(each, HttpMatch)
        )
        _http_filters(made, rule.filters, context)
        _rule(made, rule, context, not route.reference.default, _http_filters)
        if rule.retry is not None:
            _http_retry(made.retry, rule.retry)


def _grpc_route(message: pb.GrpcRoute, route: Route, context: _Context) -> None:
    message.metadata.CopyFrom(metadata(route.reference))
    message.hosts.extend(translate.host_match(host) for host in route.hosts)
    for rule in route.rules:
        made = message.rules.add()
        made.matches.extend(
            translate.grpc_match(each) for each in rule.matches if isinstance(each, GrpcMatch)
        )
        _grpc_filters(made, rule.filters, context)
        _rule(made, rule, context, not route.reference.default, _grpc_filters)
        if rule.retry is not None:
            _grpc_retry(made.retry, rule.retry)


def _rule(
    message: Any, rule: Rule, context: _Context, explicit: bool, set_filters: _SetFilters
) -> None:
    _backends(message.backends, rule, context, set_filters, context.bias)
    _timeouts(message, rule.timeouts)
    message.allow_l5d_request_headers = explicit and context.obey_headers


def _http_filters(message: Any, filters: _Filters, context: _Context) -> None:
    """What Linkerd's proxy does not know goes into fields that it skips."""
    for value in filters:
        match value:
            case Rewrite():
                message.rewrite.CopyFrom(translate.rewrite(value))
            case Mirror():
                _mirror(message, value, context)
            case HeaderChange(response=True):
                made = translate.response_change(value)
                message.filters.add(response_header_modifier=made)
            case HeaderChange():
                message.filters.add(request_header_modifier=translate.request_change(value))
            case Redirect():
                message.filters.add(redirect=translate.redirect(value))
            case Failure():
                failure = http_route_pb2.HttpFailureInjector(
                    status=value.status, message=value.message
                )
                message.filters.add(failure_injector=failure)


def _grpc_filters(message: Any, filters: _Filters, context: _Context) -> None:
    """What Linkerd's proxy does not know goes into fields that it skips."""
    for value in filters:
        match value:
            case Mirror():
                _mirror(message, value, context)
            case HeaderChange(response=True):
                made = translate.response_change(value)
                message.response_header_modifier.CopyFrom(made)
            case HeaderChange():
                message.filters.add(request_header_modifier=translate.request_change(value))
            case Failure():
                failure = grpc_route_pb2.GrpcFailureInjector(
                    code=value.status, message=value.message
                )
                message.filters.add(failure_injector=failure)
            case Redirect() | Rewrite():
                raise AssertionError("gRPC routes do not change where to: see model.routes.grpc")


def _mirror(message: Any, value: Mirror, context: _Context) -> None:
    made = message.mirrors.add(backend=_backend(value.backend, context, context.bias))
    if value.numerator != value.denominator:
        made.ratio.numerator, made.ratio.denominator = value.numerator, value.denominator


# TLS and opaque


def _tls(protocol: Any, value: OutboundService | OutboundEgress, context: _Context) -> None:
    for route in value.routes.tls:
        made = protocol.routes.add(metadata=metadata(route.reference))
        made.snis.extend(translate.sni_match(host) for host in route.hosts)
        for rule in route.rules:
            _backends(made.rules.add().backends, rule, context, _refusals, None)
    if isinstance(value, OutboundEgress):
        name = _default_name(value, "tls", "")
        rule = protocol.routes.add(metadata=metadata(Reference(default=name))).rules.add()
        _backends(rule.backends, Rule(), context, _refusals, None)
        if not value.allow:
            rule.filters.add().forbidden.SetInParent()


def _opaque(
    protocol: pb.ProxyProtocol.Opaque,
    value: OutboundService | OutboundEgress,
    context: _Context,
    routes: tuple[Route, ...],
) -> None:
    for route in routes:
        made = protocol.routes.add(metadata=metadata(route.reference))
        for rule in route.rules:
            _backends(made.rules.add().backends, rule, context, _refusals, None)
    if not routes:
        name = _default_name(value, "tcp", "opaq")
        default = protocol.routes.add(metadata=metadata(Reference(default=name))).rules.add()
        _backends(default.backends, Rule(), context, _refusals, None)
        if _denied(value):
            default.filters.add().forbidden.SetInParent()


def _refusals(message: Any, filters: _Filters, context: _Context) -> None:
    for value in filters:
        text = value.message if isinstance(value, Failure) else ""
        message.filters.add(invalid=opaque_route_pb2.Invalid(message=text))


# backends


def _backends(
    message: Any, rule: Rule, context: _Context, set_filters: _SetFilters, bias: Bias | None
) -> None:
    if not rule.backends:
        message.first_available.backends.add().backend.CopyFrom(context.backend)
        return
    for backend in rule.backends:
        weighted = message.random_available.backends.add(weight=backend.weight)
        weighted.backend.backend.CopyFrom(_backend(backend, context, bias))
        made = (Failure(_BACKEND_STATUS, backend.error),) if backend.error else backend.filters
        set_filters(weighted.backend, made, context)


def _backend(value: Backend, context: _Context, bias: Bias | None) -> pb.Backend:
    if value.forward and context.address is not None:
        return _forward(value.reference, context.address, value.weight)
    message = pb.Backend(metadata=metadata(value.reference), queue=_queue())
    if value.authority:
        _balance(message, value.authority, bias)
    return message


def _forward(reference: Reference, address: tuple[str, int], weight: int) -> pb.Backend:
    message = pb.Backend(metadata=metadata(reference), queue=_queue())
    message.forward.CopyFrom(
        destination_pb2.WeightedAddr(addr=tcp_address(*address), weight=weight)
    )
    return message


def _balance(message: pb.Backend, authority: str, bias: Bias | None) -> None:
    balancer = message.balancer
    balancer.discovery.dst.path = authority
    load: Any = balancer.peak_ewma if bias is None else balancer.penalty_peak_ewma
    load.default_rtt.CopyFrom(duration(_DEFAULT_RTT_S))
    load.decay.CopyFrom(duration(_RTT_DECAY_S))
    if bias is not None:
        load.penalty.CopyFrom(duration(bias.penalty_s))
        load.max_retry_after.CopyFrom(duration(bias.max_retry_after_s))
        load.penalty_decay.CopyFrom(duration(_PENALTY_DECAY_S))


def _queue() -> pb.Queue:
    return pb.Queue(capacity=_QUEUE_CAPACITY, failfast_timeout=duration(_FAILFAST_S))


# settings


def _timeouts(message: Any, timeouts: Timeouts) -> None:
    """Fills both the present and the former field; the present one is there even if empty."""
    message.timeouts.SetInParent()
    if timeouts.request_s is not None:
        message.timeouts.request.CopyFrom(duration(timeouts.request_s))
        message.requestTimeout.CopyFrom(duration(timeouts.request_s))
    if timeouts.response_s is not None:
        message.timeouts.response.CopyFrom(duration(timeouts.response_s))
    if timeouts.idle_s is not None:
        message.timeouts.idle.CopyFrom(duration(timeouts.idle_s))


def _http_retry(message: pb.HttpRoute.Retry, retry: Retry) -> None:
    _retry(message, retry)
    for low, high in retry.statuses:
        message.conditions.status_ranges.add(start=low, end=high)


def _grpc_retry(message: pb.GrpcRoute.Retry, retry: Retry) -> None:
    _retry(message, retry)
    for name in retry.grpc:
        # The wire's name of one of them is misspelt.
        field = "deadine_exceeded" if name == "deadline-exceeded" else name.replace("-", "_")
        setattr(message.conditions, field, True)


def _retry(message: Any, retry: Retry) -> None:
    message.max_retries = retry.limit
    message.max_request_bytes = _RETRY_BYTES_MAX
    message.backoff.CopyFrom(_backoff(*_RETRY_BACKOFF_S))
    message.conditions.SetInParent()
    if retry.timeout_s:
        message.timeout.CopyFrom(duration(retry.timeout_s))


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


# targets without a parent


def _fallback(value: Fallback) -> pb.OutboundPolicy:
    name = meta_pb2.Metadata(default="egress-fallback")
    backend = _forward(Reference(default="egress-fallback"), (value.ip, value.port), 1)
    message = pb.OutboundPolicy(metadata=name)
    detect = message.protocol.detect
    detect.timeout.CopyFrom(duration(DETECT_TIMEOUT_S))
    opaque = detect.opaque.routes.add(metadata=name)
    opaque.rules.add().backends.first_available.backends.add().backend.CopyFrom(backend)
    http = pb.HttpRoute(metadata=name)
    rule = http.rules.add()
    rule.matches.add().SetInParent()
    rule.backends.first_available.backends.add().backend.CopyFrom(backend)
    detect.http1.routes.append(http)
    detect.http2.routes.append(http)
    return message


def _undefined_port(value: UndefinedPort) -> pb.OutboundPolicy:
    reference = Reference("", "core", "Service", value.name, value.namespace, value.port)
    message = pb.OutboundPolicy(metadata=metadata(reference))
    route = message.protocol.opaque.routes.add(metadata=meta_pb2.Metadata(default="undefined-port"))
    rule = route.rules.add()
    rule.backends.empty.SetInParent()
    rule.filters.add().forbidden.SetInParent()
    return message
