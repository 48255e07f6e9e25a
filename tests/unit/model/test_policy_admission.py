"""What the policy webhook refuses, kind by kind (reference: Linkerd's admission rules)."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.model.admission import refusal

POLICY = "policy.linkerd.io"
GATEWAY = "gateway.networking.k8s.io"
MESH = {"kind": "MeshTLSAuthentication", "group": POLICY, "name": "m"}
NET = {"kind": "NetworkAuthentication", "group": POLICY, "name": "n"}
ACCOUNT = {"kind": "ServiceAccount", "name": "s"}
TO_SERVER = {"targetRef": {"kind": "Server", "group": POLICY, "name": "s"}}
TO_SERVICE = {"kind": "Service", "group": "core", "name": "s", "port": 80}


def verdict(kind: str, spec: dict[str, Any], group: str = POLICY, **meta: Any) -> str | None:
    return refusal(
        group, kind, {"metadata": {"name": "x", "namespace": "ns", **meta}, "spec": spec}
    )


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
            {"targetRef": {"kind": "Server"}, "total": {"requestsPerSecond": 9}},
        ),
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
            "accessPolicy 'maybe'",
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
        ("MeshTLSAuthentication", {"identities": ["a.*.b"]}, "invalid identity"),
        ("MeshTLSAuthentication", {"identities": ["spiffe://td/../a"]}, "invalid identity"),
        ("MeshTLSAuthentication", {"identities": ["spiffe://td/a/"]}, "invalid identity"),
        ("MeshTLSAuthentication", {"identityRefs": [{"kind": "Pod", "name": "p"}]}, "identityRef"),
        ("NetworkAuthentication", {"networks": []}, "at least one"),
        ("NetworkAuthentication", {"networks": [{"cidr": "nonsense"}]}, "malformed"),
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
            {"targetRef": {"kind": "Server"}, "total": {"requestsPerSecond": 0}},
            "greater than 0",
        ),
        ("EgressNetwork", {"trafficPolicy": "Deny", "networks": []}, "empty"),
        ("HTTPRoute", {"rules": [{"matches": [{"path": {"value": "x"}}]}]}, "absolute"),
        (
            "HTTPRoute",
            {"rules": [{"matches": [{"path": {"type": "RegularExpression", "value": "("}}]}]},
            "regular expression",
        ),
        ("HTTPRoute", {"parentRefs": [{"kind": "EgressNetwork", "name": "e"}]}, "port"),
        ("Pod", {}, "unsupported resource type"),
    ],
)
def test_refused(kind: str, spec: dict[str, Any], reason: str) -> None:
    assert reason in (verdict(kind, spec) or "")


def test_annotations_of_routes_to_services_must_parse() -> None:
    spec = {"parentRefs": [TO_SERVICE]}
    for key, value in (
        ("retry.linkerd.io/http", "6xx"),
        ("retry.linkerd.io/grpc", "ok"),
        ("timeout.linkerd.io/request", "1h30m"),
    ):
        assert "malformed" in (verdict("HTTPRoute", spec, GATEWAY, annotations={key: value}) or "")


@pytest.mark.parametrize(("count", "accepted"), [(0, False), (1, True), (2, False)])
def test_tcp_routes_have_one_rule(count: int, accepted: bool) -> None:
    assert accepted == (verdict("TCPRoute", {"rules": [{}] * count}, GATEWAY) is None)
