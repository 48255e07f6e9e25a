"""Edges from samples of open connections."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.viz.edges import edges
from tests.unit.viz.builders import emojivoto, sample

CONNECTION = {
    "namespace": "emojivoto",
    "deployment": "web",
    "dst_namespace": "emojivoto",
    "dst_deployment": "emoji",
    "pod": "web-1-a",
}
SECURED = {**CONNECTION, "server_id": "emoji.emojivoto.serviceaccount.identity.linkerd.x"}


def test_a_secured_edge_names_both_accounts() -> None:
    (edge,) = edges([sample(2, **SECURED)], "deployment", "emojivoto", emojivoto())
    assert ("web", "emoji", "web.emojivoto", "emoji.emojivoto", "") == (
        edge.src.name,
        edge.dst.name,
        edge.client_id,
        edge.server_id,
        edge.no_identity_msg,
    )


def test_pods_of_the_same_resources_are_one_edge() -> None:
    other = {**SECURED, "pod": "web-1-b"}
    assert 1 == len(
        edges([sample(1, **SECURED), sample(1, **other)], "deployment", "", emojivoto())
    )


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("not_provided_by_service_discovery", "Not Provided By Service Discovery"),
        ("loopback", "Loopback"),
        ("something_new", "something_new"),
        ("", "Unknown"),
    ],
)
def test_an_unsecured_edge_tells_why(reason: Any, text: Any) -> None:
    found = edges([sample(1, **CONNECTION, no_tls_reason=reason)], "deployment", "", emojivoto())
    assert [(text, "")] == [(edge.no_identity_msg, edge.client_id) for edge in found]


def test_closed_connections_and_other_namespaces_do_not_count() -> None:
    samples = [
        sample(0, **SECURED),
        sample(1, **{**SECURED, "namespace": "a", "dst_namespace": "b"}),
    ]
    assert [] == edges(samples, "deployment", "emojivoto", emojivoto())
