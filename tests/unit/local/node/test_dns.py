"""The cluster's names as the resolver answers them, on the wire. No sockets."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from linkerd.errors import WireError
from linkerd.local.node import dns
from tests.unit.local.node.builders import a_service, a_slice, an_endpoint

DOMAIN = "cluster.local"


def a_zone() -> dns.Zone:
    services = [
        a_service("web", "10.96.0.7"),
        a_service("heads", "None"),
        a_service("none", "None"),
        a_service("ext", "", type="ExternalName", externalName="example.com."),
        a_service("alias", "", type="ExternalName", externalName="web.shop.svc.cluster.local"),
    ]
    slices = [
        a_slice(
            an_endpoint("10.244.0.5", hostname="a"),
            an_endpoint("10.244.0.6"),
            an_endpoint("10.244.0.9", ready=False),
            service="heads",
        )
    ]
    return dns.build(DOMAIN, services, slices)


def a_query(name: str, kind: int = dns.A, flags: int = 0x0100) -> bytes:
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split(".") if part)
    return struct.pack(">6H", 7, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def ask(name: str, kind: int = dns.A) -> tuple[int, list[tuple[int, bytes]]]:
    """Returns response code and (type, rdata) of the answers."""
    question = dns.parse(a_query(name, kind))
    data = dns.answer(a_zone(), question)
    assert data is not None
    id, flags, _, answers, _, _ = struct.unpack_from(">6H", data)
    assert (7, 0x8000) == (id, flags & 0x8000)
    at = 12 + len(question.raw)
    found = []
    for _ in range(answers):
        while data[at]:
            at += 1 + data[at]
        kind_found, _, _, length = struct.unpack_from(">HHIH", data, at + 1)
        at += 11
        found.append((kind_found, data[at : at + length]))
        at += length
    return flags & 0xF, found


def ips(answers: list[tuple[int, bytes]]) -> set[str]:
    return {str(ipaddress.ip_address(rdata)) for kind, rdata in answers if kind == dns.A}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web.shop.svc.cluster.local", {"10.96.0.7"}),
        ("WEB.Shop.svc.cluster.local", {"10.96.0.7"}),
        ("heads.shop.svc.cluster.local", {"10.244.0.5", "10.244.0.6"}),
        ("a.heads.shop.svc.cluster.local", {"10.244.0.5"}),
        ("10-244-0-6.heads.shop.svc.cluster.local", {"10.244.0.6"}),
        ("10-244-0-9.shop.pod.cluster.local", {"10.244.0.9"}),
        ("alias.shop.svc.cluster.local", {"10.96.0.7"}),
    ],
)
def test_addresses(name: str, expected: set[str]) -> None:
    code, answers = ask(name)
    assert (dns.NOERROR, expected) == (code, ips(answers))


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("nothing.shop.svc.cluster.local", dns.A, dns.NXDOMAIN),
        ("web.shop.svc.cluster.local", dns.AAAA, dns.NOERROR),
        ("shop.svc.cluster.local", dns.A, dns.NOERROR),
        ("none.shop.svc.cluster.local", dns.A, dns.NOERROR),
        ("x.shop.pod.cluster.local", dns.A, dns.NXDOMAIN),
    ],
)
def test_names_without_records(name: str, kind: int, code: int) -> None:
    assert (code, []) == ask(name, kind)


def test_srv_names_port_and_target() -> None:
    code, answers = ask("_http._tcp.web.shop.svc.cluster.local", dns.SRV)
    assert dns.NOERROR == code
    assert (0, 100, 80) == struct.unpack_from(">HHH", answers[0][1])
    assert b"\x03web\x04shop" in answers[0][1]


def test_an_external_name_is_an_alias_to_be_followed_elsewhere() -> None:
    _, answers = ask("ext.shop.svc.cluster.local")
    assert [(dns.CNAME, b"\x07example\x03com\x00")] == answers


def test_an_address_has_a_name() -> None:
    _, answers = ask("7.0.96.10.in-addr.arpa", dns.PTR)
    assert b"\x03web\x04shop\x03svc\x07cluster\x05local\x00" == answers[0][1]


def test_other_names_are_asked_elsewhere() -> None:
    assert dns.answer(a_zone(), dns.parse(a_query("example.com"))) is None


def test_an_answer_too_long_for_udp_is_cut_and_says_so() -> None:
    many = [an_endpoint(f"10.244.1.{n}") for n in range(1, 200)]
    zone = dns.build(DOMAIN, [a_service("heads", "None")], [a_slice(*many, service="heads")])
    question = dns.parse(a_query("heads.shop.svc.cluster.local"))
    data = dns.answer(zone, question)
    assert data is not None
    assert 0x0200 == struct.unpack_from(">H", data, 2)[0] & 0x0200
    whole = dns.answer(zone, question, bytes_max=65535)
    assert whole is not None
    assert 199 == struct.unpack_from(">H", whole, 6)[0]


@pytest.mark.parametrize("cut", range(len(a_query("web.shop"))))
def test_a_query_that_is_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(WireError):
        dns.parse(a_query("web.shop")[:cut])


def test_a_pointer_in_a_question_is_refused() -> None:
    with pytest.raises(WireError, match="malformed"):
        dns.parse(struct.pack(">6H", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1")
