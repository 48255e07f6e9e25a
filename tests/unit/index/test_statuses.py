"""The conditions that our controller writes (reference: Linkerd's status controller)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkerd.index.status import EGRESS_NETWORKS, RATE_LIMITS, StatusIndex
from linkerd.model import objects
from linkerd.model.route_objects import EgressNetwork, RateLimit, Route
from linkerd.model.routes import CONTROLLER
from tests.unit.index.policies import (
    GRPC,
    HTTP,
    TCP,
    TLS,
    a_rate_limit,
    a_route,
    a_service,
    an_egress_network,
    egress_parent,
    server_parent,
    service_parent,
)

NOW = "2026-02-01T00:00:00Z"
KEY = ("ns", "route")
ACCEPTED = ("Accepted", "True", "Accepted", "")
RESOLVED = ("ResolvedRefs", "True", "ResolvedRefs", "")
NO_PARENT = ("Accepted", "False", "NoMatchingParent", "")
CONFLICT = ("Accepted", "False", "RouteReasonConflicted", "")


def a_server(name: str = "srv") -> objects.Server:
    return objects.Server(objects.Meta(name=name, namespace="ns"))


def unseen(route: Route) -> Route:
    """The route as its user created it: without a status."""
    return msgspec.structs.replace(route, status=None)


def an_index(*items: tuple[str, Any]) -> StatusIndex:
    index = StatusIndex(("10.0.0.0/8", "fd00::/8"))
    for kind, item in items:
        index.apply(kind, item)
    return index


def conditions(found: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [(each["type"], each["status"], each["reason"], each["message"]) for each in found]


def of_route(*items: tuple[str, Any], kind: str = HTTP) -> list[tuple[str, ...]]:
    patch = an_index(*items).patch(kind, KEY, NOW)
    assert patch is not None
    (parent,) = patch[0]["parents"]
    assert CONTROLLER == parent["controllerName"]
    return conditions(parent["conditions"])


HEADLESS = objects.Service(
    objects.Meta(name="web", namespace="ns"), objects.ServiceSpec(cluster_ip="None")
)
EXTERNAL = objects.Service(
    objects.Meta(name="web", namespace="ns"),
    objects.ServiceSpec(type="ExternalName", cluster_ip="10.96.0.1"),
)
MESSAGE = "parent service must have a ClusterIP"


@pytest.mark.parametrize(
    ("service", "verdict"),
    [
        (a_service(), ACCEPTED),
        (None, NO_PARENT),
        (HEADLESS, ("Accepted", "False", "NoMatchingParent", MESSAGE)),
        (EXTERNAL, ("Accepted", "False", "NoMatchingParent", MESSAGE)),
    ],
)
def test_a_route_of_a_service(service: objects.Service | None, verdict: tuple[str, ...]) -> None:
    items = [("services", service)] if service is not None else []
    assert [verdict, RESOLVED] == of_route(*items, (HTTP, unseen(a_route())))


@pytest.mark.parametrize(
    ("backend", "verdict"),
    [
        ({"name": "web", "port": 80}, RESOLVED),
        ({"name": "no", "port": 80}, ("ResolvedRefs", "False", "BackendNotFound", "")),
        (
            {"name": "web", "port": 80, "namespace": "far"},
            ("ResolvedRefs", "False", "BackendNotFound", ""),
        ),
        ({"name": "x", "kind": "Thing"}, ("ResolvedRefs", "False", "InvalidKind", "")),
        (
            {"name": "net", "kind": "EgressNetwork", "group": "policy.linkerd.io"},
            (
                "ResolvedRefs",
                "False",
                "InvalidKind",
                "EgressNetwork backend needs to be on a route that has an EgressNetwork parent",
            ),
        ),
    ],
)
def test_references_to_backends(backend: dict[str, Any], verdict: tuple[str, ...]) -> None:
    route = unseen(a_route(rules=[{"backendRefs": [backend]}]))
    found = of_route(
        ("services", a_service()), (EGRESS_NETWORKS, an_egress_network()), (HTTP, route)
    )
    assert [ACCEPTED, verdict] == found


def test_the_references_of_a_parent_are_written_in_full() -> None:
    parents = (service_parent(port=80, sectionName="x"), server_parent(), egress_parent(port=443))
    index = an_index((HTTP, unseen(a_route("route", *parents))))
    patch = index.patch(HTTP, KEY, NOW)
    assert patch is not None
    assert [
        {"group": "core", "kind": "Service", "namespace": "ns", "name": "web", "port": 80},
        {"group": "policy.linkerd.io", "kind": "Server", "namespace": "ns", "name": "srv"},
        {
            "group": "policy.linkerd.io",
            "kind": "EgressNetwork",
            "namespace": "ns",
            "name": "net",
            "port": 443,
        },
    ] == [parent["parentRef"] for parent in patch[0]["parents"]]
    assert [2, 1, 2] == [len(parent["conditions"]) for parent in patch[0]["parents"]]


def test_a_route_of_a_server_has_one_condition() -> None:
    route = unseen(a_route("route", server_parent()))
    assert [NO_PARENT] == of_route((HTTP, route))
    assert [ACCEPTED] == of_route((HTTP, route), ("servers", a_server()))


def test_a_route_of_an_egress_network() -> None:
    route = unseen(a_route("route", egress_parent()))
    assert [NO_PARENT, RESOLVED] == of_route((HTTP, route))
    good, bad = an_egress_network(), an_egress_network("net", "10.1.0.0/16")
    assert [ACCEPTED, RESOLVED] == of_route((HTTP, route), (EGRESS_NETWORKS, good))
    message = "EgressNetwork parent has not been accepted"
    assert [("Accepted", "False", "NoMatchingParent", message), RESOLVED] == of_route(
        (HTTP, route), (EGRESS_NETWORKS, bad)
    )


@pytest.mark.parametrize(
    ("kind", "other", "verdict"),
    [
        (GRPC, HTTP, ACCEPTED),
        (HTTP, GRPC, CONFLICT),
        (HTTP, HTTP, ACCEPTED),
        (HTTP, TLS, ACCEPTED),
        (TLS, HTTP, CONFLICT),
        (TCP, TLS, CONFLICT),
        (TCP, TCP, ACCEPTED),
    ],
)
def test_more_specific_kinds_of_routes_go_before(
    kind: str, other: str, verdict: tuple[str, ...]
) -> None:
    items = [("services", a_service()), (kind, unseen(a_route())), (other, a_route("other"))]
    assert verdict == of_route(*items, kind=kind)[0]
    elsewhere = (other, a_route("other", service_parent(port=81)))
    assert ACCEPTED == of_route(*items[:2], elsewhere, kind=kind)[0]


def test_a_status_that_is_right_is_not_written() -> None:
    index = an_index(("services", a_service()), (HTTP, unseen(a_route())))
    patch = index.patch(HTTP, KEY, NOW)
    assert patch is not None
    written = msgspec.convert({**msgspec.to_builtins(a_route()), "status": patch[0]}, Route)
    index.apply(HTTP, written)
    assert index.patch(HTTP, KEY, "2026-03-01T00:00:00Z") is None

    index.delete("services", a_service())
    patch = index.patch(HTTP, KEY, "2026-03-01T00:00:00Z")
    assert patch is not None
    (parent,) = patch[0]["parents"]
    times = [each["lastTransitionTime"] for each in parent["conditions"]]
    assert ["2026-03-01T00:00:00Z", NOW] == times


def test_what_others_say_stays() -> None:
    route = a_route(controller="example.com/other")
    patch = an_index(("services", a_service()), (HTTP, route)).patch(HTTP, KEY, NOW)
    assert patch is not None
    assert ["example.com/other", CONTROLLER] == [
        each["controllerName"] for each in patch[0]["parents"]
    ]


def test_parents_of_other_controllers_get_no_status() -> None:
    route = unseen(a_route("route", {"kind": "Gateway", "name": "g"}))
    assert an_index((HTTP, route)).patch(HTTP, KEY, NOW) is None


def test_the_oldest_rate_limit_of_a_server_is_accepted() -> None:
    old = a_rate_limit("b", accepted=None, created="2025-01-01T00:00:00Z")
    new = a_rate_limit("a", accepted=None)
    index = an_index((RATE_LIMITS, new), (RATE_LIMITS, old))

    def reason(name: str) -> str:
        patch = index.patch(RATE_LIMITS, ("ns", name), NOW)
        assert patch is not None
        assert {"group": "policy.linkerd.io", "kind": "Server", "name": "srv"} == (
            patch[0]["targetRef"]
        )
        (verdict,) = patch[0]["conditions"]
        return str(verdict["reason"])

    assert ["NoMatchingTarget"] * 2 == [reason("a"), reason("b")]
    assert ("status", RATE_LIMITS, "ns", "a") in index.apply("servers", a_server())
    assert ["RateLimitReasonAlreadyExists", "Accepted"] == [reason("a"), reason("b")]
    assert ("status", RATE_LIMITS, "ns", "a") in index.delete(RATE_LIMITS, old)
    assert "Accepted" == reason("a")
    index.apply(RATE_LIMITS, a_rate_limit("a"))
    patch = index.patch(RATE_LIMITS, ("ns", "a"), NOW)
    assert patch is not None  # the stored condition lacks its reason
    stored = {**msgspec.to_builtins(a_rate_limit("a")), "status": patch[0]}
    index.apply(RATE_LIMITS, msgspec.convert(stored, RateLimit))
    assert index.patch(RATE_LIMITS, ("ns", "a"), NOW) is None


@pytest.mark.parametrize(
    ("cidrs", "holes", "reason"),
    [
        ((), (), "Accepted"),
        (("1.0.0.0/8",), (), "Accepted"),
        (("10.1.0.0/16",), (), "EgressReasonNetworkOverlap"),
        (("0.0.0.0/0",), (), "EgressReasonNetworkOverlap"),
        (("0.0.0.0/0",), ("10.0.0.0/8",), "Accepted"),
        (("fd00::/16",), (), "EgressReasonNetworkOverlap"),
        (("::/0",), ("fd00::/8",), "Accepted"),
    ],
)
def test_egress_networks_must_not_overlap_the_cluster(
    cidrs: tuple[str, ...], holes: tuple[str, ...], reason: str
) -> None:
    network = an_egress_network("net", *cidrs, holes=holes)
    index = an_index((EGRESS_NETWORKS, network))
    patch = index.patch(EGRESS_NETWORKS, ("ns", "net"), NOW)
    assert patch is not None
    (verdict,) = patch[0]["conditions"]
    assert reason == verdict["reason"]
    stored = {**msgspec.to_builtins(network), "status": patch[0]}
    index.apply(EGRESS_NETWORKS, msgspec.convert(stored, EgressNetwork))
    assert index.patch(EGRESS_NETWORKS, ("ns", "net"), NOW) is None


def test_what_a_change_affects_is_announced() -> None:
    rules = [{"backendRefs": [{"name": "other", "port": 80}]}]
    index = an_index((HTTP, a_route("route", rules=rules)))
    mine = ("status", HTTP, "ns", "route")
    assert mine in index.apply("services", a_service())
    assert mine in index.apply("services", a_service("other", "10.96.0.2"))
    assert mine in index.apply(GRPC, a_route("g"))
    assert mine in index.reset(GRPC, [])
    assert {mine} == index.topics()
    assert set() == index.apply("services", a_service())
