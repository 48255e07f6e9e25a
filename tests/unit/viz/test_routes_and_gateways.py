"""ServiceProfile routes and multicluster gateways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from linkerd.errors import UsageError
from linkerd.viz import gateways, routes
from linkerd.viz.queries import Object
from tests.unit.viz.builders import a_service, emojivoto, sample

PROFILE: dict[str, Any] = {
    "metadata": {"name": "web-svc.emojivoto.svc.cluster.local", "namespace": "emojivoto"},
    "spec": {"routes": [{"name": "POST /vote"}, {"name": "GET /api"}]},
}
DST = {"dst": "web-svc.emojivoto.svc.cluster.local:80"}


@pytest.mark.parametrize(
    ("kind", "namespace", "name"),
    [
        ("deployment", "emojivoto", "web"),
        ("pod", "emojivoto", "web-1-a"),
        ("service", "emojivoto", "web-svc"),
        ("namespace", "", "emojivoto"),
    ],
)
def test_profiles_belong_to_the_services_of_a_resource(
    kind: str, namespace: str, name: str
) -> None:
    services = routes.services_of(emojivoto(), kind, namespace, name)
    found = routes.relevant(routes.profiles([PROFILE]), services, "cluster.local")
    assert ["web-svc"] == [profile.service for profile in found]


def test_other_resources_have_none() -> None:
    assert [] == routes.services_of(emojivoto(), "deployment", "emojivoto", "vote-bot")
    with pytest.raises(UsageError):
        routes.check("server")


def test_queries_ask_for_the_profiles_destinations() -> None:
    found = list(routes.profiles([PROFILE]).values())
    own = Object("deployment", "emojivoto", "web")
    asked = routes.query(own, found, "1m", outbound=False)
    matchers = (
        '{direction="inbound", namespace="emojivoto", deployment="web", '
        'dst=~"(web-svc\\\\.emojivoto\\\\.svc\\\\.cluster\\\\.local)(:\\\\d+)?"}'
    )
    assert (
        f"sum(increase(route_response_total{matchers}[1m])) by (rt_route, dst, classification)"
        == asked["requests"]
    )
    assert "actual" not in asked
    assert "route_actual_response_total" in routes.query(own, found, "1m", outbound=True)["actual"]
    service = routes.query(Object("service", "emojivoto", "web-svc"), found, "1m", outbound=False)
    assert '{direction="outbound", dst=~' in service["requests"]


def a_table() -> Any:
    found = list(routes.profiles([PROFILE]).values())
    answers = {
        "requests": [
            sample(45, rt_route="GET /api", classification="success", **DST),
            sample(15, rt_route="GET /api", classification="failure", **DST),
            sample(60, classification="success", **DST),
            sample(60, classification="success", dst="other.x.svc.cluster.local"),
        ],
        "actual": [sample(120, rt_route="GET /api", classification="success", **DST)],
        "p99": [sample(12, rt_route="GET /api", **DST)],
    }
    return routes.table("deployment/web", found, answers, "1m")


def test_every_route_has_a_row_and_the_rest_is_default() -> None:
    assert (
        "ROUTE        SERVICE   SUCCESS      RPS   LATENCY_P50   LATENCY_P95   LATENCY_P99\n"
        "GET /api     web-svc    75.00%   1.0rps           0ms           0ms          12ms\n"
        "POST /vote   web-svc         -   0.0rps             -             -             -\n"
        "[DEFAULT]    web-svc   100.00%   1.0rps           0ms           0ms           0ms\n"
    ) == routes.text([a_table()])


def test_several_resources_are_told_apart_and_wide_shows_attempts() -> None:
    text = routes.text([a_table(), a_table()], wide=True)
    assert text.startswith("==> deployment/web <==\nROUTE ")
    assert "EFFECTIVE_SUCCESS   EFFECTIVE_RPS   ACTUAL_SUCCESS   ACTUAL_RPS" in text
    assert "75.00%          1.0rps          100.00%       2.0rps" in text


def test_json_is_keyed_by_resource() -> None:
    (first, *_) = json.loads(routes.as_json([a_table()]))["deployment/web"]
    assert ("GET /api", "web-svc", 0.75) == (first["route"], first["authority"], first["success"])
    (wide, *_) = json.loads(routes.as_json([a_table()], wide=True))["deployment/web"]
    assert 2.0 == wide["actual_rps"]


def test_gateways_count_their_mirrors() -> None:
    cluster = emojivoto()
    mirror = a_service("podinfo-east", {})
    labels = {
        "multicluster.linkerd.io/cluster-name": "east",
        "multicluster.linkerd.io/mirrored-service": "true",
    }
    import msgspec

    meta = msgspec.structs.replace(mirror.metadata, labels=labels)
    cluster.apply("service", msgspec.structs.replace(mirror, metadata=meta))
    own = {
        "gateway_namespace": "linkerd-multicluster",
        "target_cluster_name": "east",
        "gateway_name": "probe-gateway-east",
    }
    answers = {"alive": [sample(1, **own)], "p95": [sample(7, **own)]}
    (row,) = gateways.table(answers, cluster).rows
    assert ("east", "linkerd-multicluster", True, 1, 7) == (
        row.cluster_name,
        row.namespace,
        row.alive,
        row.paired_services,
        row.latency_ms_p95,
    )
    assert 'gateway_alive{target_cluster_name="east"}' in gateways.query("east", "", "1m")["alive"]
