"""Names and ports that come from peers and annotations: any text gives a value or an error."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkerd.errors import WireError
from linkerd.model.names import (
    Authority,
    Caller,
    Mesh,
    ServiceName,
    WorkloadName,
    authority,
    caller,
    service_name,
    workload_name,
)
from linkerd.model.ports import PortSet, listen_port, port_set


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web.ns.svc.cluster.local", Authority("web.ns.svc.cluster.local", 80)),
        ("web:8080", Authority("web", 8080)),
        ("10.0.0.1:80", Authority("10.0.0.1", 80, "10.0.0.1")),
        ("[fd00::1]:80", Authority("fd00::1", 80, "fd00::1")),
        ("[fd00:0:0::1]", Authority("fd00:0:0::1", 80, "fd00::1")),
    ],
)
def test_authorities(text: str, expected: Authority) -> None:
    assert expected == authority(text)


@pytest.mark.parametrize("text", ["", ":80", "web:", "web:0", "web:65536", "web:http", "web:-1"])
def test_wrong_authorities(text: str) -> None:
    with pytest.raises(WireError):
        authority(text)


@given(st.text())
def test_any_text_is_an_authority_or_an_error(text: str) -> None:
    with contextlib.suppress(WireError):
        found = authority(text)
        assert 1 <= found.port <= 65535


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("web.ns.svc.cluster.local", ServiceName("ns", "web")),
        ("web-0.web.ns.svc.cluster.local", ServiceName("ns", "web", "web-0")),
        ("web.ns.svc.cluster.local.", None),
        ("ns.svc.cluster.local", None),
        ("a.b.c.d.svc.cluster.local", None),
        (".ns.svc.cluster.local", None),
        ("web.ns.svc.example.com", None),
        ("example.com", None),
    ],
)
def test_service_names(host: str, expected: ServiceName | None) -> None:
    assert expected == service_name(host, "cluster.local")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ('{"ns":"a","nodeName":"n","pod":"p"}\n', Caller("a", "n", "p")),
        ('{"ns":"a"}', Caller("a")),
        ("ns:a", Caller("a")),
        ("", Caller()),
        ("{", Caller()),
        ("[]", Caller()),
        ("nonsense", Caller()),
    ],
)
def test_context_tokens_never_fail(token: str, expected: Caller) -> None:
    assert expected == caller(token)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ns:pod", WorkloadName("ns", "pod")),
        ('{"ns":"ns","pod":"p"}\n', WorkloadName("ns", "p")),
        ('{"ns":"ns","external_workload":"e"}', WorkloadName("ns", "", "e")),
    ],
)
def test_workloads(text: str, expected: WorkloadName) -> None:
    assert expected == workload_name(text)


@pytest.mark.parametrize(
    "text",
    ["", "ns", ":", "ns:", "{}", '{"ns":"a"}', '{"ns":"a","pod":"p","external_workload":"e"}'],
)
def test_wrong_workloads(text: str) -> None:
    with pytest.raises(WireError, match="malformed"):
        workload_name(text)


def test_identities() -> None:
    mesh = Mesh("linkerd", "example.org", "cluster.local")
    assert "web.ns.serviceaccount.identity.linkerd.example.org" == mesh.identity("ns", "web")


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("", ()),
        ("25", ((25, 25),)),
        ("25, 587-590,mysql", ((25, 25), (587, 590), (3306, 3306))),
        ("nope,0,70000,9-8,-1,1-", ()),
        ("25,nope", ((25, 25),)),
    ],
)
def test_port_lists_skip_what_is_wrong(text: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert PortSet(ranges) == port_set(text, {"mysql": 3306})


def test_a_port_set_holds_its_bounds() -> None:
    ports = port_set("10-12")
    assert [False, True, True, True, False] == [port in ports for port in range(9, 14)]


@pytest.mark.parametrize(
    ("text", "port"),
    [("0.0.0.0:4143", 4143), ("[::]:4143", 4143), ("0.0.0.0:4143,[::]:4143", 4143), ("", None)],
)
def test_listen_addresses(text: str, port: int | None) -> None:
    assert port == listen_port(text)
