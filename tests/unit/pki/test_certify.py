"""The identity service's decision, without its edges: users, tokens, leaves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from linkerd.pki import certify, issue, trust
from tests.unit.pki.authority import NOW, WEB, a_request, a_root

DOMAIN = certify.Domain("linkerd", "cluster.local")


def test_a_service_account_has_an_identity() -> None:
    assert DOMAIN.identity("system:serviceaccount:emojivoto:web") == WEB


@pytest.mark.parametrize(
    "username",
    ["", "web", "system:serviceaccount:emojivoto", "system:serviceaccount:a.b:web", "x:y:z:w"],
)
def test_other_users_have_none(username: str) -> None:
    with pytest.raises(certify.Malformed):
        DOMAIN.identity(username)


@pytest.mark.parametrize(
    ("identity", "token", "der", "expected"),
    [
        ("", b"t", b"c", "missing identity"),
        (WEB, b"", b"c", "missing token"),
        (WEB, b"t", b"", "missing certificate signing request"),
        (WEB, b"t", b"c", "cannot read certificate signing request"),
    ],
)
def test_incomplete_requests_are_malformed(
    identity: str, token: bytes, der: bytes, expected: str
) -> None:
    with pytest.raises(certify.Malformed, match=expected):
        certify.checked_request(identity, token, der)


def test_a_request_for_another_name_is_refused() -> None:
    with pytest.raises(certify.Refused, match="does not match requested identity"):
        certify.checked_request("other", b"t", a_request())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ({"error": "invalid bearer token"}, certify.Malformed),
        ({"authenticated": False}, certify.Refused),
        ({"authenticated": True, "audiences": ["api"], "user": {"username": "u"}}, certify.Refused),
        ({"authenticated": True, "user": {"username": "u"}}, certify.Refused),
    ],
    ids=["error", "unknown", "other audience", "no audience"],
)
def test_a_token_must_be_valid_and_ours(status: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        certify.token_username(status, ["identity.l5d.io"])


def test_a_token_proves_its_user() -> None:
    status = {"authenticated": True, "audiences": ["identity.l5d.io"], "user": {"username": "u"}}
    assert certify.token_username(status, ["identity.l5d.io"]) == "u"


def _signed(issuer: trust.Issuer, **lifetime: float) -> x509.Certificate:
    request = certify.checked_request(WEB, b"t", a_request())
    made = certify.sign(request, WEB, issuer, certify.Lifetime(**lifetime), NOW)
    return x509.load_der_x509_certificate(made.leaf_der)


def test_a_leaf_has_linkerds_form() -> None:
    root = a_root()
    leaf = _signed(trust.Issuer(root, (root.cert,)), issuance_s=3600.0, skew_s=20.0)
    extension = leaf.extensions.get_extension_for_class
    names = extension(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    usage = extension(x509.KeyUsage).value
    extended = extension(x509.ExtendedKeyUsage).value
    assert [WEB] == names
    assert NOW - timedelta(seconds=20) == leaf.not_valid_before_utc
    assert NOW + timedelta(seconds=3620) == leaf.not_valid_after_utc
    assert usage.digital_signature and usage.key_encipherment and not usage.key_cert_sign
    assert {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} == set(extended)
    leaf.verify_directly_issued_by(root.cert)


def test_a_leaf_does_not_outlive_its_chain() -> None:
    root = a_root(lifetime_s=1000.0)
    leaf = _signed(trust.Issuer(root, (root.cert,)))
    assert root.cert.not_valid_after_utc == leaf.not_valid_after_utc


def test_serial_numbers_do_not_repeat() -> None:
    root = a_root()
    issuer = trust.Issuer(root, (root.cert,))
    serials = {_signed(issuer).serial_number for _ in range(5)}
    assert len(serials) == 5


def test_the_chain_comes_along() -> None:
    root = a_root()
    middle = issue.intermediate("middle", root, now=NOW)
    issuer = trust.Issuer(middle, (middle.cert,))
    request = certify.checked_request(WEB, b"t", a_request())
    made = certify.sign(request, WEB, issuer, certify.Lifetime(), NOW)
    assert [middle.cert] == [x509.load_der_x509_certificate(der) for der in made.chain_der]
    assert 64 == len(made.sha256)
