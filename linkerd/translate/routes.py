"""Matches and filters of routes → their messages, shared by inbound and outbound policies.

Source: linkerd2 policy-controller/grpc/src/routes.rs, routes/{http,grpc}.rs.
"""

from __future__ import annotations

from linkerd.gen import grpc_route_pb2, http_route_pb2, http_types_pb2, meta_pb2, tls_route_pb2
from linkerd.model.policy import Reference
from linkerd.model.routes import GrpcMatch, HeaderChange, HttpMatch, Redirect, Rewrite, ValueMatch
from linkerd.translate.destination import http_method


def metadata(reference: Reference) -> meta_pb2.Metadata:
    """Returns the metadata that names an object or a default."""
    if reference.default:
        return meta_pb2.Metadata(default=reference.default)
    return meta_pb2.Metadata(
        resource=meta_pb2.Resource(
            group=reference.group,
            kind=reference.kind,
            name=reference.name,
            namespace=reference.namespace,
            port=reference.port,
        )
    )


def host_match(host: str) -> http_route_pb2.HostMatch:
    """Returns the message of a host name or `*.suffix`."""
    labels = _suffix(host)
    if labels is None:
        return http_route_pb2.HostMatch(exact=host)
    return http_route_pb2.HostMatch(suffix=http_route_pb2.HostMatch.Suffix(reverse_labels=labels))


def sni_match(host: str) -> tls_route_pb2.SniMatch:
    """Returns the message of a server name or `*.suffix`."""
    labels = _suffix(host)
    if labels is None:
        return tls_route_pb2.SniMatch(exact=host)
    return tls_route_pb2.SniMatch(suffix=tls_route_pb2.SniMatch.Suffix(reverse_labels=labels))


def http_match(match: HttpMatch) -> http_route_pb2.HttpRouteMatch:
    """Returns the message of a match of HTTP requests."""
    message = http_route_pb2.HttpRouteMatch(
        headers=[_header_match(each) for each in match.headers],
        query_params=[_query_match(each) for each in match.queries],
    )
    if match.path is not None:
        kind, value = match.path
        message.path.CopyFrom(http_route_pb2.PathMatch(**{kind: value}))
    if match.method:
        message.method.CopyFrom(http_method(match.method))
    return message


def grpc_match(match: GrpcMatch) -> grpc_route_pb2.GrpcRouteMatch:
    """Returns the message of a match of gRPC requests."""
    message = grpc_route_pb2.GrpcRouteMatch(headers=[_header_match(each) for each in match.headers])
    if match.rpc is not None:
        service, method = match.rpc
        message.rpc.SetInParent()
        message.rpc.service, message.rpc.method = service, method
    return message


def request_change(change: HeaderChange) -> http_route_pb2.RequestHeaderModifier:
    """Returns the message of a change of request headers; both lists are there, even if empty."""
    return http_route_pb2.RequestHeaderModifier(
        add=_headers(change.add), set=_headers(change.set), remove=change.remove
    )


def response_change(change: HeaderChange) -> http_route_pb2.ResponseHeaderModifier:
    """Returns the message of a change of response headers; both lists are there, even if empty."""
    return http_route_pb2.ResponseHeaderModifier(
        add=_headers(change.add), set=_headers(change.set), remove=change.remove
    )


def redirect(value: Redirect) -> http_route_pb2.RequestRedirect:
    """Returns the message of a redirection."""
    message = http_route_pb2.RequestRedirect(host=value.host, port=value.port, status=value.status)
    if value.scheme:
        if value.scheme.upper() in ("HTTP", "HTTPS"):
            number = http_types_pb2.Scheme.Registered.Value(value.scheme.upper())
            message.scheme.registered = number
        else:
            message.scheme.unregistered = value.scheme
    if value.path is not None:
        kind, path = value.path
        message.path.CopyFrom(http_route_pb2.PathModifier(**{kind: path}))
    return message


def rewrite(value: Rewrite) -> http_route_pb2.UrlRewrite:
    """Returns the message of a change of where a request says it goes."""
    message = http_route_pb2.UrlRewrite(host=value.host)
    if value.path is not None:
        kind, path = value.path
        message.path.CopyFrom(http_route_pb2.PathModifier(**{kind: path}))
    return message


def _suffix(host: str) -> list[str] | None:
    return host[2:].split(".")[::-1] if host.startswith("*.") else None


def _headers(pairs: tuple[tuple[str, str], ...]) -> http_types_pb2.Headers:
    return http_types_pb2.Headers(
        headers=[
            http_types_pb2.Headers.Header(name=name, value=value.encode()) for name, value in pairs
        ]
    )


def _header_match(match: ValueMatch) -> http_route_pb2.HeaderMatch:
    if match.regex:
        return http_route_pb2.HeaderMatch(name=match.name, regex=match.value)
    return http_route_pb2.HeaderMatch(name=match.name, exact=match.value.encode())


def _query_match(match: ValueMatch) -> http_route_pb2.QueryParamMatch:
    if match.regex:
        return http_route_pb2.QueryParamMatch(name=match.name, regex=match.value)
    return http_route_pb2.QueryParamMatch(name=match.name, exact=match.value)
