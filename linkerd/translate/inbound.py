"""Inbound policies → the messages of `io.linkerd.proxy.inbound`.

Source: linkerd2 policy-controller/grpc/src/inbound.rs.
"""

from __future__ import annotations

from typing import Any

from linkerd.gen import http_route_pb2
from linkerd.gen import inbound_pb2 as pb
from linkerd.model.inbound import InboundRoute, InboundServer, RateLimit
from linkerd.model.policy import DETECT_TIMEOUT_S, Authorization, Clients, Reference
from linkerd.model.routes import Failure, Filter, GrpcMatch, HeaderChange, HttpMatch, Redirect
from linkerd.translate import routes
from linkerd.translate.net import duration, ip_network
from linkerd.translate.routes import metadata


def server(value: InboundServer) -> bytes:
    """Returns the `Server` of a port's policy."""
    message = pb.Server(
        authorizations=[_authorization(each) for each in value.authorizations],
        labels=_labels(value.reference),
    )
    protocol = message.protocol
    match value.protocol:
        case "HTTP/1":
            _http(protocol.http1, value)
        case "HTTP/2":
            _http(protocol.http2, value)
        case "gRPC":
            protocol.grpc.routes.extend(_grpc_route(each) for each in value.grpc_routes)
            protocol.grpc.SetInParent()
        case "opaque":
            protocol.opaque.SetInParent()
        case "TLS":
            protocol.tls.SetInParent()
        case _:
            protocol.detect.timeout.CopyFrom(duration(DETECT_TIMEOUT_S))
            protocol.detect.http_routes.extend(_http_route(each) for each in value.http_routes)
            if value.rate_limit is not None:
                protocol.detect.http_local_rate_limit.CopyFrom(_rate_limit(value.rate_limit))
    return message.SerializeToString()


def _http(protocol: Any, value: InboundServer) -> None:
    protocol.SetInParent()
    protocol.routes.extend(_http_route(each) for each in value.http_routes)
    if value.rate_limit is not None:
        protocol.local_rate_limit.CopyFrom(_rate_limit(value.rate_limit))


def _labels(reference: Reference) -> dict[str, str]:
    if reference.default:
        return {"group": "", "kind": "default", "name": reference.default}
    return {"group": reference.group, "kind": reference.kind, "name": reference.name}


def _authorization(value: Authorization) -> pb.Authz:
    return pb.Authz(
        networks=[
            pb.Network(
                net=ip_network(block.cidr),
                **{"except": [ip_network(each) for each in block.excluded]},
            )
            for block in value.networks
        ],
        authentication=_authentication(value.clients),
        labels=_labels(value.reference),
        metadata=metadata(value.reference),
    )


def _authentication(clients: Clients) -> pb.Authn:
    message = pb.Authn()
    if not clients.tls:
        message.unauthenticated.SetInParent()
        return message
    mesh = message.meshTLS
    if clients.unauthenticated:
        mesh.unauthenticated.SetInParent()
        return message
    mesh.identities.SetInParent()
    for name in clients.identities:
        mesh.identities.identities.add(name=name)
    for parts in clients.suffixes:
        mesh.identities.suffixes.add(parts=parts)
    return message


def _http_route(route: InboundRoute) -> pb.HttpRoute:
    message = pb.HttpRoute(
        metadata=metadata(route.reference),
        hosts=[routes.host_match(host) for host in route.hosts],
        authorizations=[_authorization(each) for each in route.authorizations],
    )
    for rule in route.rules:
        message.rules.add(
            matches=[routes.http_match(m) for m in rule.matches if isinstance(m, HttpMatch)],
            filters=[_http_filter(each) for each in rule.filters],
        )
    return message


def _grpc_route(route: InboundRoute) -> pb.GrpcRoute:
    message = pb.GrpcRoute(
        metadata=metadata(route.reference),
        hosts=[routes.host_match(host) for host in route.hosts],
        authorizations=[_authorization(each) for each in route.authorizations],
    )
    for rule in route.rules:
        made = message.rules.add(
            matches=[routes.grpc_match(m) for m in rule.matches if isinstance(m, GrpcMatch)]
        )
        for each in rule.filters:
            if isinstance(each, HeaderChange):
                made.filters.add(request_header_modifier=routes.request_change(each))
    return message


def _http_filter(value: Filter) -> pb.HttpRoute.Filter:
    if isinstance(value, HeaderChange):
        return pb.HttpRoute.Filter(request_header_modifier=routes.request_change(value))
    if isinstance(value, Redirect):
        return pb.HttpRoute.Filter(redirect=routes.redirect(value))
    if isinstance(value, Failure):
        failure = http_route_pb2.HttpFailureInjector(status=value.status, message=value.message)
        return pb.HttpRoute.Filter(failure_injector=failure)
    raise AssertionError("inbound requests go where they are: see model.routes.inbound_http")


def _rate_limit(value: RateLimit) -> pb.HttpLocalRateLimit:
    message = pb.HttpLocalRateLimit(metadata=metadata(value.reference))
    if value.total_per_s is not None:
        message.total.requestsPerSecond = _rate(value.total_per_s)
    if value.identity_per_s is not None:
        message.identity.requestsPerSecond = _rate(value.identity_per_s)
    for each in value.overrides:
        override = message.overrides.add()
        override.limit.requestsPerSecond = _rate(each.per_s)
        for name in each.identities:
            override.clients.identities.add(name=name)
    return message


def _rate(per_s: int) -> int:
    return min(max(per_s, 0), 0xFFFFFFFF)
