"""Values → wire messages: the fields that a proxy acts on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from linkerd.errors import SettingsError
from linkerd.gen import destination_pb2, inbound_pb2, outbound_pb2
from linkerd.index.outbound import OutboundIndex, OutboundSettings, TargetKey
from linkerd.model import objects
from linkerd.model.endpoints import Endpoint, Match, Profile, ResponseClass, Route, Rules
from linkerd.model.inbound import (
    DEFAULT_GRPC_ROUTE,
    DEFAULT_HTTP_ROUTE,
    InboundRoute,
    InboundServer,
    LimitOverride,
    RateLimit,
)
from linkerd.model.outbound import Fallback, OutboundService, UndefinedPort
from linkerd.model.policy import (
    Accrual,
    Authorization,
    Block,
    Clients,
    Reference,
    Retry,
    Timeouts,
)
from linkerd.model.ports import port_set
from linkerd.model.routes import GrpcMatch, HeaderChange, HttpMatch, Redirect, Rule
from linkerd.translate import destination, inbound, outbound
from linkerd.translate.net import ip_address, ip_text
from linkerd.translate.params import http2_client_params


@pytest.mark.parametrize("text", ["1.2.3.4", "0.0.0.0", "fd00::1", "2001:db8:1:2:3:4:5:6"])
def test_addresses_survive_the_wire(text: str) -> None:
    assert text == ip_text(ip_address(text))


def test_an_ipv4_address_is_its_number() -> None:
    assert 0x01020304 == ip_address("1.2.3.4").ipv4


@pytest.mark.parametrize(
    ("zone", "client", "locality"),
    [
        ("a", "a", "local"),
        ("a", "b", "remote"),
        ("", "a", "unknown"),
        ("a", "", "unknown"),
        (None, "a", "unknown"),
    ],
)
def test_zone_locality(zone: str | None, client: str, locality: str) -> None:
    endpoint = Endpoint("1.2.3.4", 80, zone=zone)
    message = destination.weighted_addr(endpoint, client, destination.Params())
    assert locality == message.metric_labels["zone_locality"]
    assert (zone is not None) == ("zone" in message.metric_labels)


def test_http2_parameters_are_told_for_meshed_endpoints() -> None:
    encoded = http2_client_params(
        '{"keep_alive": {"interval": {"seconds": 10}, "while_idle": true}}'
    )
    params = destination.Params(encoded)
    meshed = destination.weighted_addr(Endpoint("1.2.3.4", 80, meshed=True), "", params)
    assert (10, True) == (
        meshed.http2.keep_alive.interval.seconds,
        meshed.http2.keep_alive.while_idle,
    )
    plain = destination.weighted_addr(Endpoint("1.2.3.4", 80), "", params)
    assert not plain.HasField("http2")


@pytest.mark.parametrize("text", ["{", "[]", '{"nope": 1}', '{"keep_alive": 1}'])
def test_wrong_http2_parameters(text: str) -> None:
    with pytest.raises(SettingsError, match="meshed-http2-client-params"):
        http2_client_params(text)


def test_a_service_profile() -> None:
    failure = ResponseClass(Match("status", low=500, high=599), True)
    condition = Match(
        "all", (Match("method", text="GET"), Match("not", (Match("path", text="/x"),)))
    )
    rules = Rules(
        (Route("GET", condition, (failure,), True, 1.5),), overrides=(("a", 1), ("b:9", 2))
    )
    value = Profile(
        "web.ns.svc.cluster.local", ("ns", "web", 80), ("ns", "web.x"), True, rules=rules
    )
    message = destination_pb2.DestinationProfile.FromString(
        destination.profile(value, destination.Params())
    )
    (route,) = message.routes
    first, second = route.condition.all.matches
    assert destination_pb2.RequestMatch().method.GET == first.method.registered
    assert "/x" == getattr(second, "not").path.regex
    assert ("GET", 500_000_000, True) == (
        route.metrics_labels["route"],
        route.timeout.nanos,
        route.response_classes[0].is_failure,
    )
    assert [("a:80", 1), ("b:9", 2)] == [(d.authority, d.weight) for d in message.dst_overrides]
    assert message.opaque_protocol
    assert ("core", "Service", 80) == (
        message.parent_ref.resource.group,
        message.parent_ref.resource.kind,
        message.parent_ref.resource.port,
    )


def test_an_undeclared_ports_profile_is_an_empty_message() -> None:
    assert b"" == destination.profile(Profile(empty=True), destination.Params())


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        ("unknown", "detect"),
        ("HTTP/1", "http1"),
        ("HTTP/2", "http2"),
        ("gRPC", "grpc"),
        ("opaque", "opaque"),
        ("TLS", "tls"),
        ("new", "detect"),
    ],
)
def test_inbound_protocols(protocol: str, kind: str) -> None:
    value = InboundServer(
        Reference(default="deny"), protocol, (), (DEFAULT_HTTP_ROUTE,), (DEFAULT_GRPC_ROUTE,)
    )
    message = inbound_pb2.Server.FromString(inbound.server(value))
    assert kind == message.protocol.WhichOneof("kind")
    assert {"group": "", "kind": "default", "name": "deny"} == dict(message.labels)


def test_inbound_authorizations() -> None:
    reference = Reference("", "policy.linkerd.io", "authorizationpolicy", "p")
    clients = Clients(tls=True, identities=("a",), suffixes=((), ("x", "y")))
    block = Block("10.0.0.0/8", ("10.1.0.0/16",))
    value = InboundServer(reference, authorizations=(Authorization(reference, (block,), clients),))
    (message,) = inbound_pb2.Server.FromString(inbound.server(value)).authorizations
    assert "p" == message.metadata.resource.name
    network = message.networks[0]
    assert (8, 16) == (network.net.prefix_len, getattr(network, "except")[0].prefix_len)
    identities = message.authentication.meshTLS.identities
    assert ["a"] == [each.name for each in identities.identities]
    assert [[], ["x", "y"]] == [list(each.parts) for each in identities.suffixes]


LIMIT = RateLimit(
    Reference("", "policy.linkerd.io", "HTTPLocalRateLimitPolicy", "l"),
    100,
    None,
    (LimitOverride(5, ("a.ns.x",)),),
)


@pytest.mark.parametrize("protocol", ["unknown", "HTTP/1", "HTTP/2"])
def test_rate_limits(protocol: str) -> None:
    value = InboundServer(Reference(default="deny"), protocol, rate_limit=LIMIT)
    sent = inbound_pb2.Server.FromString(inbound.server(value)).protocol
    limit = {
        "unknown": sent.detect.http_local_rate_limit,
        "HTTP/1": sent.http1.local_rate_limit,
        "HTTP/2": sent.http2.local_rate_limit,
    }[protocol]
    (override,) = limit.overrides
    assert (100, False, 5, "a.ns.x", "HTTPLocalRateLimitPolicy") == (
        limit.total.requestsPerSecond,
        limit.HasField("identity"),
        override.limit.requestsPerSecond,
        override.clients.identities[0].name,
        limit.metadata.resource.kind,
    )


def test_inbound_routes() -> None:
    match = HttpMatch(("exact", "/a"), method="PUT")
    change = HeaderChange(set=(("a", "1"),))
    route = InboundRoute(
        Reference("", "policy.linkerd.io", "HTTPRoute", "r"),
        ("*.x",),
        (Rule((match,), (change, Redirect(host="y"))),),
    )
    grpc = InboundRoute(
        Reference("", "g", "GRPCRoute", "r"), rules=(Rule((GrpcMatch(("s", "")),), (change,)),)
    )
    value = InboundServer(Reference(default="deny"), "HTTP/1", (), (route,), (grpc,))
    (made,) = inbound_pb2.Server.FromString(inbound.server(value)).protocol.http1.routes
    assert ("r", "", ["x"], "/a") == (
        made.metadata.resource.name,
        made.metadata.resource.namespace,
        list(made.hosts[0].suffix.reverse_labels),
        made.rules[0].matches[0].path.exact,
    )
    assert ["request_header_modifier", "redirect"] == [
        each.WhichOneof("kind") for each in made.rules[0].filters
    ]
    value = replace(value, protocol="gRPC")
    (rpc,) = inbound_pb2.Server.FromString(inbound.server(value)).protocol.grpc.routes
    assert "s" == rpc.rules[0].matches[0].rpc.service
    assert rpc.rules[0].filters[0].HasField("request_header_modifier")


WEB = OutboundService("ns", "web", 80, "web.ns.svc.cluster.local:80")


def sent(value: OutboundService | Fallback | UndefinedPort) -> outbound_pb2.OutboundPolicy:
    return outbound_pb2.OutboundPolicy.FromString(outbound.policy(value))


def test_a_services_default_policy() -> None:
    message = sent(WEB)
    detect = message.protocol.detect
    assert 10 == detect.timeout.seconds
    for routes, name in (
        (detect.http1.routes, "http"),
        (detect.http2.routes, "http"),
        (detect.opaque.routes, "opaq"),
    ):
        (route,) = routes
        backend = route.rules[0].backends.first_available.backends[0].backend
        assert name == route.metadata.default
        assert WEB.authority == backend.balancer.discovery.dst.path
        assert (100, 3) == (backend.queue.capacity, backend.queue.failfast_timeout.seconds)
        assert 30_000_000 == backend.balancer.peak_ewma.default_rtt.nanos


def test_timeouts_retries_and_accrual_are_told() -> None:
    value = OutboundService(
        "ns",
        "web",
        80,
        "web",
        "http1",
        accrual=Accrual(),
        timeouts=Timeouts(3.0, None, 1.0),
        http_retry=Retry(2, None, ((500, 599),)),
    )
    http1 = sent(value).protocol.http1
    rule = http1.routes[0].rules[0]
    assert (3, 3, 1) == (
        rule.timeouts.request.seconds,
        rule.requestTimeout.seconds,
        rule.timeouts.idle.seconds,
    )
    assert (2, 65536, 500) == (
        rule.retry.max_retries,
        rule.retry.max_request_bytes,
        rule.retry.conditions.status_ranges[0].start,
    )
    assert (7, 60) == (
        http1.failure_accrual.consecutive_failures.max_failures,
        http1.failure_accrual.consecutive_failures.backoff.max_backoff.seconds,
    )


def test_traffic_out_of_the_cluster_goes_where_it_went() -> None:
    message = sent(Fallback("1.2.3.4", 443))
    backend = message.protocol.detect.opaque.routes[0].rules[0].backends.first_available.backends[0]
    assert "egress-fallback" == message.metadata.default
    assert ("1.2.3.4", 443, 1) == (
        ip_text(backend.backend.forward.addr.ip),
        backend.backend.forward.addr.port,
        backend.backend.forward.weight,
    )


def test_an_undeclared_port_is_forbidden() -> None:
    (route,) = sent(UndefinedPort("ns", "web", 7)).protocol.opaque.routes
    rule = route.rules[0]
    assert rule.backends.HasField("empty")
    assert rule.filters[0].HasField("forbidden")


def an_index(**port: str) -> OutboundIndex:
    index = OutboundIndex(OutboundSettings(default_opaque=port_set("3306")))
    declared = objects.ServicePort(**({"port": 80, "name": "http"} | port))  # type: ignore[arg-type]
    index.apply(
        "services",
        objects.Service(
            objects.Meta(name="web", namespace="ns"),
            objects.ServiceSpec(cluster_ip="10.96.0.1", ports=(declared,)),
        ),
    )
    return index


@pytest.mark.parametrize(
    ("app_protocol", "protocol"),
    [
        (None, "detect"),
        ("HTTP", "http1"),
        ("kubernetes.io/h2c", "http2"),
        ("linkerd.io/opaque", "opaque"),
        ("https", "opaque"),
    ],
)
def test_app_protocols(app_protocol: str | None, protocol: str) -> None:
    index = an_index(**({"app_protocol": app_protocol} if app_protocol else {}))
    value, _ = index.target(TargetKey(80, ip="10.96.0.1"))
    assert isinstance(value, OutboundService)
    assert protocol == value.protocol


def test_targets() -> None:
    index = an_index()
    assert UndefinedPort("ns", "web", 7) == index.target(TargetKey(7, ip="10.96.0.1"))[0]
    assert Fallback("1.1.1.1", 80) == index.target(TargetKey(80, ip="1.1.1.1"))[0]
    unknown = index.target(TargetKey(3306, namespace="ns", name="nope"))[0]
    assert isinstance(unknown, OutboundService)
    assert ("nope.ns.svc.cluster.local:3306", "opaque") == (unknown.authority, unknown.protocol)
