"""Rows per server, route and authorization."""

from __future__ import annotations

import json

import pytest

from linkerd.errors import UsageError
from linkerd.viz import authz
from linkerd.viz.queries import Object
from tests.unit.viz.builders import sample

WEB = Object("deployment", "emojivoto", "web")
DEFAULT = {
    "srv_kind": "default",
    "srv_name": "all-unauthenticated",
    "route_kind": "default",
    "route_name": "default",
    "authz_kind": "default",
    "authz_name": "all-unauthenticated",
}
HTTP = DEFAULT | {
    "srv_kind": "server",
    "srv_name": "web-http",
    "authz_kind": "authorizationpolicy",
    "authz_name": "web-public",
}
DENIED = HTTP | {"authz_kind": "", "authz_name": ""}


def test_queries_are_inbound_and_grouped_by_policy() -> None:
    found = authz.query(WEB, "1m")
    by = "route_kind, route_name, authz_kind, authz_name, srv_kind, srv_name"
    own = 'namespace="emojivoto", deployment="web"'
    assert (
        f'sum(increase(response_total{{{own}, direction="inbound"}}[1m])) '
        f"by ({by}, classification, tls)" == found["requests"]
    )
    assert f"sum(increase(inbound_http_authz_deny_total{{{own}}}[1m])) by ({by})" == found["deny"]
    with pytest.raises(UsageError):
        authz.query(Object("service"), "1m")


def test_denied_traffic_has_no_authorization_and_a_rate() -> None:
    answers = {
        "requests": [
            sample(30, classification="success", **HTTP),
            sample(30, classification="failure", **HTTP),
        ],
        "p50": [sample(4, **HTTP)],
        "allow": [sample(60, **HTTP), sample(0, **DEFAULT)],
        "deny": [sample(6, **DENIED)],
    }
    rows = authz.rows(WEB, answers, "1m")
    assert (
        "ROUTE     SERVER     AUTHORIZATION                    "
        "UNAUTHORIZED   SUCCESS      RPS   LATENCY_P50   LATENCY_P95   LATENCY_P99\n"
        "default   web-http                                    "
        "      0.1rps         -        -             -             -             -\n"
        "default   web-http   authorizationpolicy/web-public   "
        "      0.0rps    50.00%   1.0rps           4ms           0ms           0ms\n"
    ) == authz.table(rows)
    denied, allowed = json.loads(authz.as_json(rows))
    assert {"route", "server", "authorization", "unauthorized"} == denied.keys()
    assert (0.5, 4) == (allowed["success"], allowed["latency_ms_p50"])
    assert "" == authz.table([])


def test_default_servers_say_so() -> None:
    rows = authz.rows(WEB, {"allow": [sample(60, **DEFAULT)]}, "1m")
    assert "default:all-unauthenticated" in authz.table(rows)
