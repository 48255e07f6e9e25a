"""The rules for requests of proxies. Covers parsing and every refusal; not the signing."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509

from linkerd.errors import PkiError
from linkerd.pki import csr
from tests.unit.pki.authority import WEB, a_request, an_rsa_key


def test_accepts_what_a_proxy_sends() -> None:
    assert csr.problem(csr.parse(a_request()), WEB) is None


def test_accepts_an_empty_subject() -> None:
    assert csr.problem(csr.parse(a_request(common_name=None)), WEB) is None


@pytest.mark.parametrize(
    ("der", "expected"),
    [
        (a_request([]), "exactly one DNSName, has 0"),
        (a_request([x509.DNSName(WEB), x509.DNSName("x")]), "exactly one DNSName, has 2"),
        (a_request([x509.DNSName("other")], common_name=None), "does not match requested"),
        (a_request(common_name="other"), "invalid CN in CSR: other"),
        (a_request([x509.DNSName(WEB), x509.RFC822Name("a@b.c")]), "RFC822Name"),
        (
            a_request([x509.DNSName(WEB), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]),
            "IPAddress",
        ),
        (
            a_request([x509.DNSName(WEB), x509.UniformResourceIdentifier("spiffe://a/b")]),
            "UniformResourceIdentifier",
        ),
        (a_request(key=an_rsa_key()), "expected ECDSA"),
    ],
    ids=["no name", "two names", "other name", "other CN", "email", "ip", "uri", "rsa"],
)
def test_refuses(der: bytes, expected: str) -> None:
    assert expected in (csr.problem(csr.parse(der), WEB) or "")


def test_refuses_a_request_whose_signature_was_changed() -> None:
    """Linkerd leaves this out; without it anyone could have another's key certified."""
    der = bytearray(a_request())
    der[-1] ^= 1
    assert csr.problem(csr.parse(bytes(der)), WEB) == "CSR is not signed by its own key"


def test_garbage_is_an_error() -> None:
    with pytest.raises(PkiError, match="cannot read certificate signing request"):
        csr.parse(b"garbage")
