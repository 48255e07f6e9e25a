"""Routes attached to Services and EgressNetworks: which count, in what order, what they say.

The policies are looked at as the messages that proxies get.
"""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import NotFound
from linkerd.gen import outbound_pb2 as pb
from linkerd.index.outbound import OutboundIndex, OutboundSettings, TargetKey
from linkerd.translate import outbound
from linkerd.translate.net import ip_text
from tests.unit.index.policies import (
    GRPC,
    HTTP,
    POLICY_HTTP,
    TCP,
    TLS,
    a_route,
    a_service,
    an_egress_network,
    egress_parent,
    service_parent,
)

WEB = TargetKey(80, ip="10.96.0.1", caller_namespace="client")
OUTSIDE = TargetKey(443, ip="1.1.1.1", caller_namespace="ns")


def an_index(*items: tuple[str, Any]) -> OutboundIndex:
    index = OutboundIndex(OutboundSettings())
    for kind, item in items:
        index.apply(kind, item)
    return index


def with_web(*items: tuple[str, Any]) -> OutboundIndex:
    return an_index(("services", a_service()), *items)


def told(index: OutboundIndex, key: TargetKey = WEB, **options: Any) -> pb.OutboundPolicy:
    return pb.OutboundPolicy.FromString(outbound.policy(index.target(key)[0], **options))


def http_names(index: OutboundIndex, key: TargetKey = WEB) -> list[str]:
    routes = told(index, key).protocol.detect.http1.routes
    return [route.metadata.resource.name or route.metadata.default for route in routes]


def a_rule(index: OutboundIndex, key: TargetKey = WEB) -> Any:
    return told(index, key).protocol.detect.http1.routes[0].rules[0]


def to(name: str = "other", port: int | None = 8080, **fields: Any) -> dict[str, Any]:
    return {"name": name, "port": port, **fields}


def test_routes_are_tried_by_age_then_name_and_replace_the_default() -> None:
    index = with_web(
        (HTTP, a_route("b")),
        (POLICY_HTTP, a_route("a")),
        (HTTP, a_route("old", created="2025-01-01T00:00:00Z")),
    )
    assert ["old", "a", "b"] == http_names(index)
    detect = told(index).protocol.detect
    assert list(detect.http1.routes) == list(detect.http2.routes)
    assert ["opaq"] == [route.metadata.default for route in detect.opaque.routes]
    assert ["policy.linkerd.io", "gateway.networking.k8s.io"] == [
        route.metadata.resource.group for route in detect.http1.routes[1:]
    ]


@pytest.mark.parametrize(
    ("route", "counts"),
    [
        (a_route("r", service_parent(port=80)), True),
        (a_route("r", service_parent(port=81)), False),
        (a_route("r", service_parent("other")), False),
        (a_route("r", service_parent(group="core")), True),
        (a_route("r", {"kind": "Gateway", "name": "web"}), False),
        (a_route("r", egress_parent("web")), False),
        (a_route("r", accepted=False), False),
        (a_route("r", controller="example.com/other"), False),
    ],
)
def test_a_route_counts_where_it_is_attached_and_accepted(route: Any, counts: bool) -> None:
    assert (["r"] if counts else ["http"]) == http_names(with_web((HTTP, route)))


def test_consumer_routes_are_for_clients_of_their_namespace_only() -> None:
    index = with_web(
        (HTTP, a_route("producer")),
        (HTTP, a_route("consumer", service_parent(namespace="ns"), namespace="client")),
        (HTTP, a_route("foreign", service_parent(namespace="ns"), namespace="third")),
    )
    assert ["consumer", "producer"] == http_names(index)
    other = TargetKey(80, ip="10.96.0.1", caller_namespace="ns")
    assert ["producer"] == http_names(index, other)


def test_routes_of_services_that_do_not_exist_apply_to_names() -> None:
    index = an_index((HTTP, a_route("early")))
    key = TargetKey(80, namespace="ns", name="web", caller_namespace="client")
    assert ["early"] == http_names(index, key)


def test_matches_filters_and_hosts_are_told() -> None:
    rule = {
        "matches": [
            {
                "path": {"type": "Exact", "value": "/a"},
                "headers": [{"name": "X-A", "value": "1"}],
                "queryParams": [{"name": "q", "value": "a.*", "type": "RegularExpression"}],
                "method": "GET",
            },
            {"path": {"type": "RegularExpression", "value": "/x/.*"}},
            {"path": {}},
        ],
        "filters": [
            {
                "type": "RequestHeaderModifier",
                "requestHeaderModifier": {
                    "set": [{"name": "A", "value": "1"}],
                    "add": [{"name": "B", "value": "2"}],
                    "remove": ["C"],
                },
            },
            {
                "type": "ResponseHeaderModifier",
                "responseHeaderModifier": {"remove": ["D"]},
            },
            {
                "type": "RequestRedirect",
                "requestRedirect": {
                    "scheme": "https",
                    "hostname": "example.com",
                    "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/z"},
                    "port": 8443,
                    "statusCode": 301,
                },
            },
        ],
    }
    hosts = ["web.example.com", "*.example.com"]
    route = told(
        with_web((HTTP, a_route(rules=[rule], hostnames=hosts)))
    ).protocol.detect.http1.routes[0]
    assert "web.example.com" == route.hosts[0].exact
    assert ["com", "example"] == list(route.hosts[1].suffix.reverse_labels)
    first, second, third = route.rules[0].matches
    assert ("/a", "x-a", b"1", "a.*", 0) == (
        first.path.exact,
        first.headers[0].name,
        first.headers[0].exact,
        first.query_params[0].regex,
        first.method.registered,
    )
    assert ("/x/.*", "/") == (second.path.regex, third.path.prefix)
    request, response, redirect = route.rules[0].filters
    change = request.request_header_modifier
    assert ("a", b"1", "b", ["c"]) == (
        change.set.headers[0].name,
        change.set.headers[0].value,
        change.add.headers[0].name,
        list(change.remove),
    )
    assert response.response_header_modifier.HasField("add")
    assert ("example.com", "/z", 8443, 301, 1) == (
        redirect.redirect.host,
        redirect.redirect.path.prefix,
        redirect.redirect.port,
        redirect.redirect.status,
        redirect.redirect.scheme.registered,
    )


@pytest.mark.parametrize(
    "rule",
    [
        {"filters": [{"type": "URLRewrite"}]},
        {"filters": [{"type": "RequestMirror"}]},
        {"filters": [{"type": "CORS"}]},
        {"matches": [{"path": {"type": "RegularExpression", "value": "("}}]},
        {"matches": [{"path": {"type": "RegularExpression", "value": "(?=a)"}}]},
        {"matches": [{"headers": [{"name": "a b", "value": "x"}]}]},
        {"timeouts": {"request": "soon"}},
    ],
)
def test_a_route_that_cannot_be_told_is_left_out(rule: dict[str, Any]) -> None:
    """One field that a proxy cannot convert would take the whole target out of service."""
    bad = a_route("bad", rules=[rule])
    assert ["good"] == http_names(with_web((HTTP, bad), (HTTP, a_route("good"))))


def test_rewrites_and_mirrors_are_told_beside_the_filters() -> None:
    """Linkerd's proxy refuses a whole policy for a filter that it does not know."""
    rewrite = {
        "hostname": "b.example.com",
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
    }
    mirrors = [
        {"backendRef": to()},
        {"backendRef": to(), "percent": 5},
        {"backendRef": to("none"), "fraction": {"numerator": 1, "denominator": 3}},
    ]
    filters = [
        {"type": "URLRewrite", "urlRewrite": rewrite},
        *({"type": "RequestMirror", "requestMirror": each} for each in mirrors),
    ]
    rule = {"filters": filters, "backendRefs": [to(filters=filters)]}
    index = with_web(("services", a_service("other", "10.96.0.2")), (HTTP, a_route(rules=[rule])))
    made = a_rule(index)
    for holder in (made, made.backends.random_available.backends[0].backend):
        assert [] == list(holder.filters)
        assert ("b.example.com", "/new") == (holder.rewrite.host, holder.rewrite.path.prefix)
        first, second, third = holder.mirrors
        authority = "other.ns.svc.cluster.local:8080"
        assert authority == first.backend.balancer.discovery.dst.path
        assert not first.HasField("ratio")
        assert (5, 100) == (second.ratio.numerator, second.ratio.denominator)
        assert (1, 3) == (third.ratio.numerator, third.ratio.denominator)
        assert third.backend.WhichOneof("kind") is None


def test_a_mirrors_backend_is_followed() -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": to("later")}}
    index = with_web((HTTP, a_route(rules=[{"filters": [mirror]}])))
    assert a_rule(index).mirrors[0].backend.WhichOneof("kind") is None
    _, topics = index.target(WEB)
    assert topics & index.apply("services", a_service("later", "10.96.0.3"))
    assert a_rule(index).mirrors[0].backend.WhichOneof("kind") == "balancer"


def test_backends_are_weighted_balancers() -> None:
    rule = {"backendRefs": [to(weight=9), to("web", 80), to("none", 80)]}
    index = with_web(("services", a_service("other", "10.96.0.2")), (HTTP, a_route(rules=[rule])))
    first, second, missing = a_rule(index).backends.random_available.backends
    assert (9, "other.ns.svc.cluster.local:8080", 8080) == (
        first.weight,
        first.backend.backend.balancer.discovery.dst.path,
        first.backend.backend.metadata.resource.port,
    )
    assert (1, 100) == (second.weight, second.backend.backend.queue.capacity)
    assert missing.backend.backend.WhichOneof("kind") is None
    assert "none" == missing.backend.backend.metadata.resource.name
    failure = missing.backend.filters[0].failure_injector
    assert (500, "Service not found none") == (failure.status, failure.message)


def test_a_rule_without_backends_leads_to_the_parent() -> None:
    backends = a_rule(with_web((HTTP, a_route()))).backends.first_available.backends
    assert "web.ns.svc.cluster.local:80" == backends[0].backend.balancer.discovery.dst.path


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (to(port=None), "missing port for backend Service other"),
        (to(kind="Thing", group="x"), "unsupported backend type x Thing"),
        (
            to("web", filters=[{"type": "URLRewrite"}]),
            "unsupported backend filter: URLRewrite filter is not supported",
        ),
        (to("net", kind="EgressNetwork", group="policy.linkerd.io"), "EgressNetwork not found net"),
    ],
)
def test_backends_that_cannot_be_reached_answer_with_a_failure(
    backend: dict[str, Any], message: str
) -> None:
    rule = a_rule(with_web((HTTP, a_route(rules=[{"backendRefs": [backend]}]))))
    (found,) = rule.backends.random_available.backends
    assert message == found.backend.filters[0].failure_injector.message
    assert found.backend.backend.WhichOneof("kind") is None


def test_a_backend_that_appears_is_announced_to_the_routes_parent() -> None:
    index = with_web((HTTP, a_route(rules=[{"backendRefs": [to()]}])))
    before, topics = index.target(WEB)
    assert topics & index.apply("services", a_service("other", "10.96.0.2"))
    assert before != index.target(WEB)[0]


def test_backends_without_a_namespace_are_the_routes() -> None:
    rules = [{"backendRefs": [to()]}]
    route = a_route("r", service_parent(namespace="ns"), rules=rules, namespace="client")
    index = with_web((HTTP, route), ("services", a_service("other", "10.96.0.9", "client")))
    (found,) = a_rule(index).backends.random_available.backends
    assert "other.client.svc.cluster.local:8080" == (
        found.backend.backend.balancer.discovery.dst.path
    )


def test_settings_of_a_route_replace_the_services() -> None:
    service = a_service(
        annotations={
            "timeout.linkerd.io/request": "5s",
            "timeout.linkerd.io/idle": "9s",
            "retry.linkerd.io/http": "5xx",
            "balancer.linkerd.io/failure-accrual": "consecutive",
        }
    )
    own = {"timeout.linkerd.io/request": "1s", "retry.linkerd.io/limit": "3"}
    index = an_index(
        ("services", service),
        (HTTP, a_route("own", annotations=own)),
        (HTTP, a_route("theirs", rules=[{"timeouts": {"request": "0s"}}])),
        (HTTP, a_route("timed", rules=[{"timeouts": {"request": "1m30s"}}])),
    )
    http1 = told(index).protocol.detect.http1
    first, second, third = (route.rules[0] for route in http1.routes)
    assert (1, 1, 0, 3, 0) == (
        first.timeouts.request.seconds,
        first.requestTimeout.seconds,
        first.timeouts.idle.seconds,
        first.retry.max_retries,
        len(first.retry.conditions.status_ranges),
    )
    assert (5, 9, 1, 500) == (
        second.timeouts.request.seconds,
        second.timeouts.idle.seconds,
        second.retry.max_retries,
        second.retry.conditions.status_ranges[0].start,
    )
    assert (90, 0) == (third.timeouts.request.seconds, third.timeouts.idle.seconds)
    assert 7 == http1.failure_accrual.consecutive_failures.max_failures


def test_headers_are_obeyed_on_routes_only() -> None:
    index = with_web((HTTP, a_route()))
    rule = told(index, allow_l5d_request_headers=True).protocol.detect.http1.routes[0].rules[0]
    assert rule.allow_l5d_request_headers
    default = told(with_web(), allow_l5d_request_headers=True).protocol.detect.http1.routes[0]
    assert not default.rules[0].allow_l5d_request_headers


def test_a_grpc_route_makes_the_port_grpc() -> None:
    rule = {
        "matches": [
            {"method": {"service": "s", "method": "m"}},
            {"headers": [{"name": "a", "value": "b", "type": "Exact"}]},
        ],
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["a"]}},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["a"]}},
        ],
        "backendRefs": [to("none")],
    }
    notes = {"retry.linkerd.io/grpc": "deadline-exceeded,internal"}
    index = with_web((GRPC, a_route("g", rules=[rule], annotations=notes)), (HTTP, a_route("h")))
    (route,) = told(index).protocol.grpc.routes
    made = route.rules[0]
    assert ("s", "m") == (made.matches[0].rpc.service, made.matches[0].rpc.method)
    assert not made.matches[1].HasField("rpc")
    assert ["request_header_modifier"] == [each.WhichOneof("kind") for each in made.filters]
    assert ["a"] == made.response_header_modifier.remove
    conditions = made.retry.conditions
    assert (True, True, False) == (
        conditions.deadine_exceeded,
        conditions.internal,
        conditions.cancelled,
    )
    failure = made.backends.random_available.backends[0].backend.filters[0].failure_injector
    assert (500, "Service not found none") == (failure.code, failure.message)


@pytest.mark.parametrize(
    ("app_protocol", "kinds", "protocol"),
    [
        ("http", (HTTP, GRPC), "http1"),
        ("kubernetes.io/h2c", (HTTP,), "http2"),
        ("kubernetes.io/h2c", (HTTP, GRPC), "grpc"),
        ("grpc", (HTTP,), "http2"),
        ("grpc", (GRPC,), "grpc"),
        ("linkerd.io/tcp", (HTTP, TCP), "opaque"),
        ("https", (HTTP,), "opaque"),
        (None, (GRPC, HTTP, TLS, TCP), "grpc"),
        (None, (HTTP, TLS, TCP), "detect"),
        (None, (TLS, TCP), "tls"),
        (None, (TCP,), "opaque"),
        (None, (), "detect"),
    ],
)
def test_the_protocol_follows_the_port_then_the_routes(
    app_protocol: str | None, kinds: tuple[str, ...], protocol: str
) -> None:
    service = a_service(app_protocol=app_protocol)
    index = an_index(("services", service), *((kind, a_route(kind[:3])) for kind in kinds))
    assert protocol == told(index).protocol.WhichOneof("kind")


def test_tls_and_tcp_routes() -> None:
    rule = {"backendRefs": [to("web", 80), to("none", 80)]}
    tls = a_route("t", rules=[rule], hostnames=["*.x.y"])
    (route,) = told(with_web((TLS, tls))).protocol.tls.routes
    assert ["y", "x"] == list(route.snis[0].suffix.reverse_labels)
    _, missing = route.rules[0].backends.random_available.backends
    assert "Service not found none" == missing.backend.filters[0].invalid.message

    tcp = [(TCP, a_route(name, rules=[rule])) for name in ("first", "second")]
    (only,) = told(with_web(*tcp)).protocol.opaque.routes
    assert "first" == only.metadata.resource.name
    two = a_route("two", rules=[{}, {}])
    (default,) = told(
        an_index(("services", a_service(app_protocol="linkerd.io/opaque")), (TCP, two))
    ).protocol.opaque.routes
    assert "opaq" == default.metadata.default


def test_the_load_biaser_is_told_to_all_balancers_of_http() -> None:
    notes = {
        "balancer.alpha.linkerd.io/penalize-failures": "true",
        "balancer.alpha.linkerd.io/load-biaser-penalty": "2s",
    }
    rules = [{}, {"backendRefs": [to("web", 80)]}]
    index = an_index(("services", a_service(annotations=notes)), (HTTP, a_route(rules=rules)))
    default, explicit = told(index).protocol.detect.http1.routes[0].rules
    for backend in (
        default.backends.first_available.backends[0].backend,
        explicit.backends.random_available.backends[0].backend.backend,
    ):
        load = backend.balancer.penalty_peak_ewma
        assert (2, 300, 10) == (
            load.penalty.seconds,
            load.max_retry_after.seconds,
            load.penalty_decay.seconds,
        )


# EgressNetworks


def egress(*items: tuple[str, Any], key: TargetKey = OUTSIDE) -> pb.OutboundPolicy:
    return told(an_index(*items), key)


def test_an_egress_network_forwards_to_where_traffic_went() -> None:
    policy = egress(("egressnetworks", an_egress_network()))
    resource = policy.metadata.resource
    assert ("policy.linkerd.io", "EgressNetwork", "ns", "net", 443) == (
        resource.group,
        resource.kind,
        resource.namespace,
        resource.name,
        resource.port,
    )
    detect = policy.protocol.detect
    (route,) = detect.http1.routes
    assert "http-egress-allow" == route.metadata.default
    forward = route.rules[0].backends.first_available.backends[0].backend.forward
    assert ("1.1.1.1", 443, 1) == (ip_text(forward.addr.ip), forward.addr.port, forward.weight)
    assert "tcp-egress-allow" == detect.opaque.routes[0].metadata.default


def test_an_egress_network_denies() -> None:
    detect = egress(("egressnetworks", an_egress_network(policy="Deny"))).protocol.detect
    failure = detect.http1.routes[0].rules[0].filters[0].failure_injector
    assert (403, "traffic not allowed") == (failure.status, failure.message)
    opaque = detect.opaque.routes[0]
    assert "tcp-egress-deny" == opaque.metadata.default
    assert opaque.rules[0].filters[0].HasField("forbidden")


@pytest.mark.parametrize(
    ("kind", "protocol", "default"),
    [(HTTP, "detect", "http"), (GRPC, "grpc", "grpc"), (TLS, "tls", "tls"), (TCP, "opaque", None)],
)
def test_routes_of_egress_networks_come_before_the_default(
    kind: str, protocol: str, default: str | None
) -> None:
    backend = {"name": "net", "kind": "EgressNetwork", "group": "policy.linkerd.io", "weight": 3}
    route = a_route("r", egress_parent(port=443), rules=[{"backendRefs": [backend]}])
    sent = egress(("egressnetworks", an_egress_network(policy="Deny")), (kind, route)).protocol
    assert protocol == sent.WhichOneof("kind")
    chosen: Any = getattr(sent, protocol)
    routes = chosen.http1.routes if protocol == "detect" else chosen.routes
    names = [each.metadata.resource.name or each.metadata.default for each in routes]
    assert (["r"] if default is None else ["r", f"{default}-egress-deny"]) == names
    (target,) = routes[0].rules[0].backends.random_available.backends
    assert (3, "1.1.1.1") == (target.weight, ip_text(target.backend.backend.forward.addr.ip))


def test_an_egress_network_is_only_a_backend_of_itself() -> None:
    ref = {"kind": "EgressNetwork", "group": "policy.linkerd.io"}
    rules = [{"backendRefs": [{**ref, "name": "two"}]}]
    index = an_index(
        ("egressnetworks", an_egress_network()),
        ("egressnetworks", an_egress_network("two", "2.0.0.0/8")),
        ("services", a_service()),
        (HTTP, a_route("e", egress_parent(), rules=rules)),
        (HTTP, a_route("s", rules=rules)),
    )
    for key, message in (
        (OUTSIDE, "Route with EgressNetwork backend needs to have the same EgressNetwork"),
        (WEB, "EgressNetwork backends attach to EgressNetwork parents only"),
    ):
        (found,) = a_rule(index, key).backends.random_available.backends
        assert found.backend.filters[0].failure_injector.message.startswith(message)


def test_the_smallest_then_oldest_network_wins() -> None:
    index = an_index(
        ("egressnetworks", an_egress_network("wide", "1.0.0.0/8")),
        ("egressnetworks", an_egress_network("b", "1.1.0.0/16", created="2025-01-01T00:00:00Z")),
        ("egressnetworks", an_egress_network("a", "1.1.0.0/16")),
        ("egressnetworks", an_egress_network("hole", "1.1.1.0/24", holes=("1.1.1.1",))),
        ("egressnetworks", an_egress_network("six", "2001:db8::/32")),
        ("egressnetworks", an_egress_network("host", "2001:db8::1/128")),
    )
    assert "b" == told(index, OUTSIDE).metadata.resource.name
    for ip, name in (("2001:db8::1", "host"), ("2001:db8::2", "six")):
        key = TargetKey(443, ip=ip, caller_namespace="ns")
        assert name == told(index, key).metadata.resource.name


def test_a_namespaces_networks_hide_the_global_ones() -> None:
    everywhere = an_egress_network("all", namespace="linkerd-egress")
    index = an_index(("egressnetworks", everywhere))
    assert "all" == told(index, OUTSIDE).metadata.resource.name
    own = an_egress_network("own", "2.0.0.0/8")
    before, topics = index.target(OUTSIDE)
    assert topics & index.apply("egressnetworks", own)
    assert "egress-fallback" == told(index, OUTSIDE).metadata.default
    index.delete("egressnetworks", own)
    assert before == index.target(OUTSIDE)[0]


def test_networks_of_the_cluster_are_egress_only_when_named() -> None:
    inside = TargetKey(443, ip="10.1.2.3", caller_namespace="ns")
    with pytest.raises(NotFound):
        an_index(("egressnetworks", an_egress_network())).target(inside)
    index = an_index(("egressnetworks", an_egress_network("in", "10.1.0.0/16")))
    assert "in" == told(index, inside).metadata.resource.name


def test_opaque_ports_of_an_egress_network() -> None:
    notes = {"config.linkerd.io/opaque-ports": "443"}
    network = an_egress_network(annotations=notes)
    assert "opaque" == egress(("egressnetworks", network)).protocol.WhichOneof("kind")
