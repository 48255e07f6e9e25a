"""What the policy webhook refuses, kind by kind (reference: Linkerd's admission rules)."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.model.admission import refusal
from linkerd.model.regexes import problem

POLICY = "policy.linkerd.io"
GATEWAY = "gateway.networking.k8s.io"
MESH = {"kind": "MeshTLSAuthentication", "group": POLICY, "name": "m"}
NET = {"kind": "NetworkAuthentication", "group": POLICY, "name": "n"}
ACCOUNT = {"kind": "ServiceAccount", "name": "s"}
TO_SERVER = {"targetRef": {"kind": "Server", "group": POLICY, "name": "s"}}
TO_EGRESS = {"kind": "EgressNetwork", "group": POLICY, "name": "e"}
TO_SERVICE = {"kind": "Service", "group": "core", "name": "s", "port": 80}


def verdict(kind: str, spec: dict[str, Any], group: str = POLICY, **meta: Any) -> str | None:
    document = {"metadata": {"name": "x", "namespace": "ns", **meta}, "spec": spec}
    refused = refusal(group, kind, document)
    return None if refused is None else refused.reason


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Server", {"port": 80, "podSelector": {}}),
        ("server", {"port": "http", "podSelector": {}, "accessPolicy": "audit"}),
        ("ServerAuthorization", {"server": {"name": "s"}, "client": {"unauthenticated": True}}),
        ("AuthorizationPolicy", {**TO_SERVER, "requiredAuthenticationRefs": [MESH, NET]}),
        ("AuthorizationPolicy", {"targetRef": {"kind": "Namespace", "name": "ns"}}),
        ("MeshTLSAuthentication", {"identities": ["*", "*.ns.x", "web.ns.x", "spiffe://td/a"]}),
        ("MeshTLSAuthentication", {"identityRefs": [ACCOUNT, {"kind": "Namespace", "name": "n"}]}),
        (
            "NetworkAuthentication",
            {"networks": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]},
        ),
        ("HTTPRoute", {"parentRefs": [TO_SERVICE], "rules": [{"matches": [{"path": {}}]}]}),
        (
            "HTTPLocalRateLimitPolicy",
            {**TO_SERVER, "total": {"requestsPerSecond": 9}, "identity": {"requestsPerSecond": 9}},
        ),
        ("HTTPRoute", {"rules": [{"timeouts": {"request": "0s", "backendRequest": "0s"}}]}),
        ("EgressNetwork", {"trafficPolicy": "Deny"}),
    ],
)
def test_accepted(kind: str, spec: dict[str, Any]) -> None:
    assert verdict(kind, spec) is None


@pytest.mark.parametrize(
    ("kind", "spec", "reason"),
    [
        ("Server", {"port": 80}, "exactly one"),
        ("Server", {"port": 0, "podSelector": {}}, "1..65535"),
        (
            "Server",
            {"port": 80, "podSelector": {}, "accessPolicy": "maybe"},
            "Invalid 'accessPolicy' field",
        ),
        ("Server", {"port": [], "podSelector": {}}, "malformed"),
        (
            "ServerAuthorization",
            {"client": {"unauthenticated": True, "meshTLS": {"identities": ["*"]}}},
            "unauthenticated",
        ),
        (
            "ServerAuthorization",
            {"client": {"meshTLS": {"unauthenticatedTLS": True, "identities": ["*"]}}},
            "unauthenticatedTLS",
        ),
        ("AuthorizationPolicy", {"targetRef": {"kind": "Pod", "name": "p"}}, "targetRef kind"),
        ("AuthorizationPolicy", {"targetRef": {"kind": "Namespace", "name": "b"}}, "another"),
        (
            "AuthorizationPolicy",
            {**TO_SERVER, "requiredAuthenticationRefs": [MESH, MESH]},
            "single MeshTLSAuthentication",
        ),
        (
            "AuthorizationPolicy",
            {**TO_SERVER, "requiredAuthenticationRefs": [MESH, ACCOUNT]},
            "together",
        ),
        (
            "AuthorizationPolicy",
            {**TO_SERVER, "requiredAuthenticationRefs": [NET, NET]},
            "single NetworkAuthentication",
        ),
        (
            "AuthorizationPolicy",
            {**TO_SERVER, "requiredAuthenticationRefs": [{"kind": "Pod", "name": "p"}]},
            "unsupported",
        ),
        ("MeshTLSAuthentication", {"identities": ["Web.ns"]}, "Web.ns"),
        ("MeshTLSAuthentication", {"identities": ["a.*.b"]}, "is invalid"),
        ("MeshTLSAuthentication", {"identities": ["spiffe://td/../a"]}, "is invalid"),
        ("MeshTLSAuthentication", {"identities": ["spiffe://td/a/"]}, "is invalid"),
        (
            "MeshTLSAuthentication",
            {"identityRefs": [{"kind": "Pod", "name": "p"}]},
            "identity target",
        ),
        (
            "MeshTLSAuthentication",
            {"identityRefs": [{"kind": "Namespace", "name": "n", "namespace": "b"}]},
            "cluster-scoped",
        ),
        ("NetworkAuthentication", {"networks": []}, "at least one"),
        ("NetworkAuthentication", {"networks": [{"cidr": "nonsense"}]}, "nonsense"),
        (
            "NetworkAuthentication",
            {"networks": [{"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}]},
            "does not include",
        ),
        (
            "NetworkAuthentication",
            {"networks": [{"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}]},
            "negated",
        ),
        (
            "HTTPLocalRateLimitPolicy",
            {**TO_SERVER, "total": {"requestsPerSecond": 0}},
            "total.requestsPerSecond must be greater than 0",
        ),
        (
            "HTTPLocalRateLimitPolicy",
            {**TO_SERVER, "total": {"requestsPerSecond": 1}, "identity": {"requestsPerSecond": 2}},
            "identity.requestsPerSecond must be less than or equal to total.requestsPerSecond",
        ),
        (
            "HTTPLocalRateLimitPolicy",
            {**TO_SERVER, "overrides": [{"requestsPerSecond": 1, "clientRefs": [MESH]}]},
            "overrides.clientRefs must target a ServiceAccount",
        ),
        (
            "HTTPLocalRateLimitPolicy",
            {"targetRef": {"kind": "Server", "name": "s"}},
            "invalid targetRef kind: Server",
        ),
        ("EgressNetwork", {"trafficPolicy": "Deny", "networks": []}, "at least one network"),
        ("HTTPRoute", {"rules": [{"matches": [{"path": {"value": "x"}}]}]}, "absolute"),
        (
            "HTTPRoute",
            {"rules": [{"matches": [{"path": {"type": "RegularExpression", "value": "("}}]}]},
            "regular expression",
        ),
        (
            "HTTPRoute",
            {"parentRefs": [TO_EGRESS]},
            "cannot target an EgressNetwork without specifying a port",
        ),
        ("HTTPRoute", {"rules": [{"filters": [{"type": "URLRewrite"}]}]}, "not supported"),
        ("HTTPRoute", {"rules": [{"timeouts": {"request": "-1s"}}]}, "must not be negative"),
        (
            "HTTPRoute",
            {"rules": [{"timeouts": {"request": "1s", "backendRequest": "2s"}}]},
            "backendRequest timeout (2s) must not be greater than request timeout (1s)",
        ),
        ("HTTPRoute", {"rules": [{"matches": [{"headers": [{"name": "a b"}]}]}]}, "header name"),
        ("HTTPRoute", {"rules": {}}, "malformed"),
        ("Pod", {}, "unsupported resource type"),
    ],
)
def test_refused(kind: str, spec: dict[str, Any], reason: str) -> None:
    assert reason in (verdict(kind, spec) or "")


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_annotations_of_routes_to_services_must_parse(kind: str) -> None:
    retry, wrong = ("http", "6xx") if kind == "HTTPRoute" else ("grpc", "ok")
    for key, value in (
        (f"retry.linkerd.io/{retry}", wrong),
        ("timeout.linkerd.io/request", "1h30m"),
        ("balancer.linkerd.io/failure-accrual", "sometimes"),
    ):
        for parent in (TO_SERVICE, {**TO_EGRESS, "port": 80}):
            spec = {"parentRefs": [parent]}
            reason = verdict(kind, spec, GATEWAY, annotations={key: value}) or ""
            assert value in reason
        assert (
            verdict(kind, {"parentRefs": [GATEWAY_PARENT]}, GATEWAY, annotations={key: value})
            is None
        )


GATEWAY_PARENT = {"kind": "Gateway", "group": GATEWAY, "name": "g"}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"filters": [{"type": "CORS"}, {"type": "URLRewrite"}]}, None),
        ({"backendRefs": [{"name": "s", "port": 80}, {"kind": "Thing", "name": "t"}]}, None),
        ({"backendRefs": [{"name": "s"}]}, "cannot reference a Service without a port"),
        ({"backendRefs": [{"name": "s", "kind": "Service", "port": 0}]}, "without a port"),
        (
            {
                "filters": [
                    {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": [" "]}}
                ]
            },
            "header name",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_rules_of_the_gateway_api(kind: str, rule: dict[str, Any], reason: str | None) -> None:
    """What other controllers may understand passes."""
    found = verdict(kind, {"parentRefs": [TO_SERVICE], "rules": [rule]}, GATEWAY)
    assert found is None if reason is None else reason in (found or "")


def test_grpc_methods_are_not_regular_expressions() -> None:
    match = {"method": {"type": "RegularExpression", "service": "a.*"}}
    found = verdict("GRPCRoute", {"rules": [{"matches": [match]}]}, GATEWAY)
    assert "unsupported GRPCRoute method match type" in (found or "")


@pytest.mark.parametrize(("count", "accepted"), [(0, False), (1, True), (2, False)])
@pytest.mark.parametrize("kind", ["TCPRoute", "TLSRoute"])
def test_plain_routes_have_one_rule(kind: str, count: int, accepted: bool) -> None:
    found = verdict(kind, {"rules": [{}] * count}, GATEWAY)
    assert found is None if accepted else "supports a single rule only" in (found or "")
    egress = verdict(kind, {"parentRefs": [TO_EGRESS], "rules": [{}]}, GATEWAY)
    assert "without specifying a port" in (egress or "")


def test_only_what_does_not_parse_is_malformed() -> None:
    """Kinds of the Gateway API that do not parse are let through with a warning."""
    broken = refusal(GATEWAY, "HTTPRoute", {"spec": {"rules": 1}})
    wrong = refusal(GATEWAY, "GRPCRoute", {"spec": {"rules": [{"matches": [{"method": "x"}]}]}})
    assert broken is not None and broken.malformed
    assert wrong is not None and not wrong.malformed


@pytest.mark.parametrize(
    ("pattern", "fine"),
    [
        ("/a/.*", True),
        (r"(?i)\p{L}+\z", True),
        ("(?<name>[[:alpha:]]+)", True),
        ("[a-z&&[^aeiou]]", True),
        ("(", False),
        ("a(?=b)", False),
        ("(?<!a)b", False),
        (r"(a)\1", False),
        ("a" * 5000, False),
    ],
)
def test_regular_expressions_are_those_of_the_proxy(pattern: str, fine: bool) -> None:
    assert fine == (problem(pattern) is None)
