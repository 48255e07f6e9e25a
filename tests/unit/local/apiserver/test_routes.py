"""Paths → verbs and objects; heads of HTTP; versions and groups in order."""

from __future__ import annotations

import pytest

from linkerd.local.apiserver import discovery
from linkerd.local.apiserver.http import Refused, parse_head
from linkerd.local.apiserver.kinds import Kinds, version_priority
from linkerd.local.apiserver.route import Route, parse


@pytest.mark.parametrize(
    ("method", "path", "watch", "expected"),
    [
        ("GET", "/api/v1/pods", False, ("list", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/pods", True, ("watch", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/b", False, ("get", "", "v1", "a", "pods", "b", "")),
        ("GET", "/api/v1/namespaces/a/pods/b/log", False, ("get", "", "v1", "a", "pods", "b", "log")),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", False, ("create", "apps", "v1", "a", "deployments", "", "")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments", False, ("deletecollection", "apps", "v1", "a", "deployments", "", "")),
        ("GET", "/api/v1/namespaces", False, ("list", "", "v1", "", "namespaces", "", "")),
        ("GET", "/api/v1/namespaces/a", False, ("get", "", "v1", "a", "namespaces", "a", "")),
        ("PUT", "/api/v1/namespaces/a/finalize", False, ("update", "", "v1", "a", "namespaces", "a", "finalize")),
        ("PATCH", "/api/v1/namespaces/a/status", False, ("patch", "", "v1", "a", "namespaces", "a", "status")),
        ("POST", "/apis/tap.linkerd.io/v1alpha1/watch/namespaces/a/pods/b/tap", False, ("watch", "tap.linkerd.io", "v1alpha1", "a", "pods", "b", "tap")),
        ("GET", "/version", False, ("get", "", "", "", "", "", "")),
        ("GET", "/apis/apps/v1", False, ("get", "", "", "", "", "", "")),
    ],
)  # fmt: skip
def test_paths_name_verbs_and_objects(
    method: str, path: str, watch: bool, expected: tuple[str, ...]
) -> None:
    verb, group, version, namespace, resource, name, subresource = expected
    wanted = Route(verb, path, group, version, namespace, resource, name, subresource)
    assert wanted == parse(method, path, watch)


def test_heads_are_parsed() -> None:
    request = parse_head(
        b"GET /a%20b?x=1&x=2&y= HTTP/1.1\r\nHost: h\r\nAccept: a\r\nAccept: b\r\n\r\n"
    )
    assert ("GET", "/a b", ["1", "2"], "") == (
        request.method,
        request.path,
        request.query["x"],
        request.first("y", "none"),
    )
    assert {"host": "h", "accept": "a,b"} == request.headers


@pytest.mark.parametrize(
    "head",
    [
        b"GET /\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nname : x\r\n\r\n",
        b"G3T / HTTP/1.1\r\n\r\n",
    ],
)
def test_malformed_heads_are_refused(head: bytes) -> None:
    with pytest.raises(Refused):
        parse_head(head)


def test_versions_are_ordered_by_stability() -> None:
    wanted = ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]
    assert wanted == sorted({*wanted}, key=version_priority)


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json", "v2"),
        ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", "v2beta1"),
        ("application/json", None),
        ("", None),
    ],
)  # fmt: skip
def test_aggregated_discovery_is_negotiated(accept: str, version: str | None) -> None:
    assert version == discovery.aggregated_version(accept)


def test_both_discoveries_name_the_same_resources() -> None:
    kinds = Kinds()
    legacy = discovery.resource_list(kinds, "apps", "v1")
    assert legacy is not None
    plain = {r["name"] for r in legacy["resources"] if "/" not in r["name"]}
    groups = discovery.aggregated(kinds, "v2", False, {})["items"]
    apps = next(group for group in groups if group["metadata"]["name"] == "apps")
    assert plain == {r["resource"] for r in apps["versions"][0]["resources"]}


def test_an_api_out_of_reach_is_stale() -> None:
    found = discovery.aggregated(Kinds(), "v2", False, {("tap.linkerd.io", "v1alpha1"): None})
    tap = next(g for g in found["items"] if g["metadata"]["name"] == "tap.linkerd.io")
    assert "Stale" == tap["versions"][0]["freshness"]
