"""Endpoints and profiles → the messages of `io.linkerd.proxy.destination`.

Source: linkerd2 controller/api/destination/endpoint_translator.go, profile_translator.go,
endpoint_profile_translator.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from linkerd.gen import destination_pb2 as pb
from linkerd.gen import http_types_pb2, meta_pb2
from linkerd.model.endpoints import Endpoint, EndpointSet, Match, Profile, Route, Rules
from linkerd.translate.net import duration, tcp_address

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "HEAD", "TRACE")
_ADDRESSES_PER_MESSAGE = 1000

NOTHING_NEW = pb.Update(add=pb.WeightedAddrSet()).SerializeToString()
"""An addition of nothing, which proxies pass over."""


@dataclass(frozen=True, slots=True)
class Params:
    """What every meshed endpoint is told besides; `http2` is an encoded Http2ClientParams."""

    http2: bytes = b""


def updates(seen: EndpointSet | None, now: EndpointSet, params: Params) -> list[bytes]:
    """Returns the `Update`s that lead a client from `seen` to `now`, additions first.

    A client that has seen nothing always gets a message, so that it does not wait for one: a
    service without endpoints is told as `no_endpoints{exists: true}`.
    """
    before = {} if seen is None else seen.endpoints
    everything = seen is None or (seen.client_zone, seen.labels) != (now.client_zone, now.labels)
    changed = [
        endpoint
        for address, endpoint in now.endpoints.items()
        if everything or before.get(address) != endpoint
    ]
    gone = [address for address in before if address not in now.endpoints]
    messages: list[pb.Update] = []
    for at in range(0, len(changed), _ADDRESSES_PER_MESSAGE):
        piece = changed[at : at + _ADDRESSES_PER_MESSAGE]
        add = pb.WeightedAddrSet(
            addrs=[weighted_addr(endpoint, now.client_zone, params) for endpoint in piece],
            metric_labels=dict(now.labels),
        )
        messages.append(pb.Update(add=add))
    if gone:
        remove = pb.AddrSet(addrs=[tcp_address(ip, port) for ip, port in gone])
        messages.append(pb.Update(remove=remove))
    if seen is None and not messages:
        messages.append(pb.Update(no_endpoints=pb.NoEndpoints(exists=True)))
    return [message.SerializeToString() for message in messages]


def weighted_addr(endpoint: Endpoint, client_zone: str, params: Params) -> pb.WeightedAddr:
    """Returns one endpoint's message for callers in `client_zone` ("" when it is not known)."""
    message = pb.WeightedAddr(
        addr=tcp_address(endpoint.ip, endpoint.port),
        weight=endpoint.weight,
        metric_labels=dict(endpoint.labels),
    )
    if endpoint.zone is not None:
        message.metric_labels["zone"] = endpoint.zone
    message.metric_labels["zone_locality"] = _locality(endpoint.zone, client_zone)
    if endpoint.identity:
        message.tls_identity.dns_like_identity.name = endpoint.identity
    elif endpoint.uri_identity:
        message.tls_identity.uri_like_identity.uri = endpoint.uri_identity
    if endpoint.server_name:
        message.tls_identity.server_name.name = endpoint.server_name
    if endpoint.meshed:
        message.protocol_hint.SetInParent()
        if endpoint.hint == "h2":
            message.protocol_hint.h2.SetInParent()
        elif endpoint.hint == "opaque":
            message.protocol_hint.opaque.SetInParent()
        if endpoint.opaque_transport_port:
            message.protocol_hint.opaque_transport.inbound_port = endpoint.opaque_transport_port
        if params.http2:
            message.http2.ParseFromString(params.http2)
    if endpoint.authority_override:
        message.authority_override.authority_override = endpoint.authority_override
    return message


def profile(value: Profile, params: Params) -> bytes:
    """Returns the `DestinationProfile` of a profile."""
    message = pb.DestinationProfile()
    if value.empty:
        return message.SerializeToString()
    rules = value.rules or Rules()
    message.retry_budget.retry_ratio = rules.retry_ratio
    message.retry_budget.min_retries_per_second = rules.min_retries_per_s
    message.retry_budget.ttl.CopyFrom(duration(rules.ttl_s))
    message.opaque_protocol = value.opaque
    if value.endpoint is not None:
        message.endpoint.CopyFrom(weighted_addr(value.endpoint, value.client_zone, params))
        return message.SerializeToString()
    message.fully_qualified_name = value.fqdn
    if value.service is not None:
        namespace, name, port = value.service
        message.parent_ref.CopyFrom(resource("core", "Service", name, namespace, port))
        if value.profile is not None:
            owner, profile_name = value.profile
            reference = resource("linkerd.io", "ServiceProfile", profile_name, owner)
        else:
            reference = resource("", "", "", "")
        message.profile_ref.CopyFrom(reference)
        for authority, weight in rules.overrides:
            destination = authority if ":" in authority else f"{authority}:{port}"
            message.dst_overrides.add(authority=destination, weight=weight)
    for entry in rules.routes:
        message.routes.append(_route(entry))
    return message.SerializeToString()


def resource(group: str, kind: str, name: str, namespace: str, port: int = 0) -> meta_pb2.Metadata:
    """Returns the metadata that names an object."""
    return meta_pb2.Metadata(
        resource=meta_pb2.Resource(
            group=group, kind=kind, name=name, namespace=namespace, port=port
        )
    )


def _route(route: Route) -> pb.Route:
    message = pb.Route(
        condition=_request_match(route.condition),
        metrics_labels={"route": route.name},
        is_retryable=route.is_retryable,
        response_classes=[
            pb.ResponseClass(condition=_response_match(each.condition), is_failure=each.is_failure)
            for each in route.responses
        ],
    )
    if route.timeout_s:
        message.timeout.CopyFrom(duration(route.timeout_s))
    return message


def _request_match(match: Match) -> pb.RequestMatch:
    message = pb.RequestMatch()
    if match.kind == "path":
        message.path.regex = match.text
    elif match.kind == "method":
        message.method.CopyFrom(http_method(match.text))
    elif match.kind == "not":
        getattr(message, "not").CopyFrom(_request_match(match.of[0]))
    else:
        sequence = getattr(message, match.kind)
        sequence.SetInParent()
        sequence.matches.extend(_request_match(each) for each in match.of)
    return message


def _response_match(match: Match) -> pb.ResponseMatch:
    message = pb.ResponseMatch()
    if match.kind == "status":
        message.status.min, message.status.max = match.low, match.high
    elif match.kind == "not":
        getattr(message, "not").CopyFrom(_response_match(match.of[0]))
    else:
        sequence = getattr(message, match.kind)
        sequence.SetInParent()
        sequence.matches.extend(_response_match(each) for each in match.of)
    return message


def http_method(name: str) -> http_types_pb2.HttpMethod:
    """Returns the message of a method; an unknown one travels as text."""
    if name in _METHODS:
        number = http_types_pb2.HttpMethod.Registered.Value(name)
        return http_types_pb2.HttpMethod(registered=number)
    return http_types_pb2.HttpMethod(unregistered=name)


def _locality(zone: str | None, client_zone: str) -> str:
    if not zone or not client_zone:
        return "unknown"
    return "local" if zone == client_zone else "remote"
