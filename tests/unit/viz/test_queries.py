"""The PromQL of statistics requests; the texts are Linkerd's building blocks."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import UsageError
from linkerd.viz import queries
from linkerd.viz.queries import Object

DEPLOY = Object("deployment", "emojivoto", "web")


@pytest.mark.parametrize(
    ("selected", "filters", "matchers", "key"),
    [
        (
            DEPLOY,
            {},
            'direction="inbound", namespace="emojivoto", deployment="web"',
            ("namespace", "deployment"),
        ),
        (
            Object("deployment", "emojivoto"),
            {},
            'direction="inbound", namespace="emojivoto"',
            ("namespace", "deployment"),
        ),
        (Object("pod"), {}, 'direction="inbound"', ("namespace", "pod")),
        (Object("namespace", name="a"), {}, 'direction="inbound", namespace="a"', ("namespace",)),
        (
            Object("job", "a", "b"),
            {},
            'direction="inbound", namespace="a", k8s_job="b"',
            ("namespace", "k8s_job"),
        ),
        (
            DEPLOY,
            {"to": Object("deployment", "emojivoto", "emoji")},
            'direction="outbound", namespace="emojivoto", deployment="web", '
            'dst_namespace="emojivoto", dst_deployment="emoji"',
            ("namespace", "deployment"),
        ),
        (
            DEPLOY,
            {"to": Object("namespace", name="other")},
            'direction="outbound", namespace="emojivoto", deployment="web", dst_namespace="other"',
            ("namespace", "deployment"),
        ),
        (
            DEPLOY,
            {"from_": Object("namespace", name="other")},
            'direction="outbound", dst_namespace="emojivoto", dst_deployment="web", '
            'namespace="other"',
            ("dst_namespace", "dst_deployment"),
        ),
        (
            Object("service", "emojivoto", "web-svc"),
            {},
            'direction="outbound", '
            r'authority=~"^web-svc\\.emojivoto\\.svc\\.cluster\\.local.*"',
            ("dst_namespace", "dst_service"),
        ),
        (
            Object("authority", "emojivoto"),
            {"from_": DEPLOY},
            'direction="outbound", authority!="", namespace="emojivoto", deployment="web"',
            ("namespace", "authority"),
        ),
        (
            Object("authority", "emojivoto", "web-svc.emojivoto.svc.cluster.local:80"),
            {},
            'direction="outbound", authority="web-svc.emojivoto.svc.cluster.local:80", '
            'namespace="emojivoto"',
            ("namespace", "authority"),
        ),
    ],
)
def test_requests_are_counted_where_the_question_points(
    selected: Any, filters: Any, matchers: Any, key: Any
) -> None:
    query = queries.stat(selected, "1m", **filters)
    by = ", ".join(key)
    expected = f"sum(increase(response_total{{{matchers}}}[1m])) by ({by}, classification, tls)"
    assert (expected, key) == (query.queries["requests"], query.key)


def test_latencies_are_quantiles_of_the_last_two_scrapes() -> None:
    text = queries.stat(DEPLOY, "30s").queries["p95"]
    assert (
        "histogram_quantile(0.95, sum(irate(response_latency_ms_bucket{"
        'direction="inbound", namespace="emojivoto", deployment="web"}[30s])) '
        "by (le, namespace, deployment))"
    ) == text


@pytest.mark.parametrize(("filters", "peer"), [({}, "src"), ({"to": Object("pod", "a")}, "dst")])
def test_bytes_are_counted_on_the_side_of_the_peer(filters: Any, peer: Any) -> None:
    query = queries.stat(DEPLOY, "1m", tcp=True, **filters)
    assert f'peer="{peer}"' in query.queries["tcp_read"]
    assert "peer" not in query.queries["tcp_open"]


def test_tcp_is_asked_for_only_on_request() -> None:
    assert {"requests", "p50", "p95", "p99"} == set(queries.stat(DEPLOY, "1m").queries)


@pytest.mark.parametrize(
    ("selected", "filters"),
    [
        (Object("potato"), {}),
        (DEPLOY, {"to": Object("all")}),
        (DEPLOY, {"from_": Object("service", "a", "b")}),
        (DEPLOY, {"from_": Object("authority", "a", "b")}),
        (Object("server", "a"), {"to": DEPLOY}),
        (DEPLOY, {"to": Object("server", "a", "b")}),
        (Object("service", "a"), {"to": Object("service", "a", "b")}),
    ],
)
def test_questions_that_cannot_be_measured_are_refused(selected: Any, filters: Any) -> None:
    with pytest.raises(UsageError):
        queries.stat(selected, "1m", **filters)


def test_names_cannot_leave_their_quotes() -> None:
    text = queries.stat(Object("pod", 'a"} or vector(1) #', "b\\"), "1m").queries["requests"]
    assert r'namespace="a\"} or vector(1) #"' in text
    assert r'pod="b\\"' in text


def test_servers_are_counted_with_denials() -> None:
    query = queries.stat(Object("server", "emojivoto"), "1m", tcp=True)
    assert (
        'sum(increase(inbound_http_authz_deny_total{namespace="emojivoto", srv_kind="server"}[1m]))'
        " by (namespace, srv_name)"
    ) == query.queries["deny"]
    assert "tcp_open" in query.queries


def test_edges_are_open_outbound_connections_between_resources_of_a_kind() -> None:
    assert (
        'sum(tcp_open_connections{direction="outbound", deployment!="", dst_deployment!=""}) by '
        "(deployment, dst_deployment, pod, server_id, namespace, dst_namespace, no_tls_reason)"
    ) == queries.edges("deployment")


@pytest.mark.parametrize("kind", ["service", "all", "server"])
def test_edges_exist_only_between_workloads(kind: Any) -> None:
    with pytest.raises(UsageError):
        queries.edges(kind)
