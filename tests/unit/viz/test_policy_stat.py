"""stat-inbound and stat-outbound: rows, tables, JSON."""

from __future__ import annotations

import json

import pytest

from linkerd.errors import UsageError
from linkerd.viz import policy_stat
from linkerd.viz.queries import Object
from tests.unit.viz.builders import sample

DEPLOYMENTS = Object("deployment", "emojivoto")
WEB = {
    "deployment": "web",
    "srv_kind": "server",
    "srv_name": "web-http",
    "target_port": "8080",
    "route_kind": "HTTPRoute",
    "route_name": "api",
}
DEFAULT = {
    "deployment": "web",
    "srv_kind": "default",
    "srv_name": "all-unauthenticated",
    "target_port": "8801",
    "route_kind": "default",
    "route_name": "default",
}


def test_queries_name_kind_and_namespace_once() -> None:
    asked = policy_stat.inbound_queries(DEPLOYMENTS, "30s")
    assert (
        'sum(increase(response_total{namespace="emojivoto", direction="inbound"}[30s])) by '
        "(srv_name, srv_kind, route_name, route_kind, target_port, namespace, deployment, "
        "classification)" == asked["requests"]
    )
    asked = policy_stat.inbound_queries(Object("namespace", "", "emojivoto"), "30s")
    assert 1 == asked["requests"].partition(" by ")[2].count("namespace")
    assert 18 == len(policy_stat.outbound_queries(DEPLOYMENTS, "30s"))
    with pytest.raises(UsageError):
        policy_stat.inbound_queries(Object("service"), "1m")


def test_inbound_rows_name_servers_and_routes() -> None:
    answers = {
        "requests": [
            sample(54, classification="success", **WEB),
            sample(6, classification="failure", **WEB),
            sample(12, classification="success", **DEFAULT),
            sample(0, classification="success", **WEB | {"route_name": "idle"}),
        ],
        "p50": [sample(3, **WEB)],
    }
    rows = policy_stat.inbound(DEPLOYMENTS, answers)
    text = policy_stat.inbound_table(rows, "1m")
    assert (
        "NAME  SERVER          ROUTE      TYPE       SUCCESS   RPS  "
        "LATENCY_P50  LATENCY_P95  LATENCY_P99  \n"
        "web   [default]:8801  [default]             100.00%  0.20  "
        "          -            -            -  \n"
        "web   web-http:8080   api        HTTPRoute   90.00%  1.00  "
        "        3ms            -            -  \n"
    ) == text
    entry = json.loads(policy_stat.inbound_json(rows, "1m"))[1]
    assert {
        "name": "web",
        "server": "web-http",
        "port": "8080",
        "route": "api",
        "routeType": "HTTPRoute",
        "successesRate": 0.9,
        "rps": 1.0,
        "latencyMsP50": 3,
        "latencyMsP95": 0.0,
        "latencyMsP99": 0.0,
    } == entry


ROUTE = {
    "deployment": "web",
    "parent_name": "voting-svc",
    "parent_port": "8080",
    "route_kind": "GRPCRoute",
    "route_name": "vote",
}
BACKEND = ROUTE | {"backend_kind": "Service", "backend_port": "8080"}


def test_backends_branch_off_their_routes() -> None:
    answers = {
        "grpc.route.requests": [
            sample(45, grpc_status="OK", **ROUTE),
            sample(15, grpc_status="UNKNOWN", **ROUTE),
        ],
        "grpc.route.retries": [sample(20, **ROUTE)],
        "grpc.route.p99": [sample(0.012, **ROUTE)],
        "http.route.p99": [sample(0.0, **ROUTE)],
        "grpc.backend.requests": [
            sample(30, grpc_status="OK", backend_name="a", backend_namespace="x", **BACKEND),
            sample(15, grpc_status="OK", backend_name="a", backend_namespace="y", **BACKEND),
            sample(15, error="REQUEST_TIMEOUT", backend_name="b", **BACKEND),
        ],
    }
    rows = policy_stat.outbound(DEPLOYMENTS, answers)
    lines = policy_stat.outbound_table(rows, "1m").splitlines()
    assert 5 == len(lines), "backends of equal names in two namespaces are two"
    assert lines[1].startswith("web   voting-svc:8080  vote   GRPCRoute")
    assert lines[1].endswith("12ms     0.00%   25.00%  ")
    assert "├──────────────────► a:8080" in lines[2]
    assert "└──────────────────► b:8080" in lines[4]
    assert lines[4].rstrip().endswith("100.00%")
    route, *backends = json.loads(policy_stat.outbound_json(rows, "1m"))
    assert (0.75, 0.25) == (route["successRate"], route["retryRate"])
    assert ["a", "a", "b"] == [backend["backend"] for backend in backends]
    assert not any("retryRate" in backend for backend in backends)


def test_http_failures_are_five_hundreds_and_errors() -> None:
    http = ROUTE | {"route_kind": "default", "route_name": "http"}
    answers = {
        "http.route.requests": [
            sample(2, http_status="200", **http),
            sample(1, http_status="503", **http),
            sample(1, error="FAIL_FAST", **http),
        ]
    }
    (counts,) = policy_stat.outbound(DEPLOYMENTS, answers).values()
    assert (2, 2, 0) == (counts.success, counts.failure, counts.timeouts)
