"""Issuers and anchors: what is read and which chains are trusted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from linkerd.errors import PkiError
from linkerd.pki import digest, issue, keys, trust
from tests.unit.pki.authority import NOW, a_p384_key, a_root

DAY = timedelta(days=1)


def test_a_root_is_trusted_as_its_own_issuer() -> None:
    root = a_root()
    assert trust.problem([root.cert], [root.cert], NOW) is None


def test_an_intermediate_is_trusted_through_its_chain() -> None:
    root = a_root()
    middle = issue.intermediate("middle", root, now=NOW)
    assert trust.problem([middle.cert], [root.cert], NOW) is None
    assert trust.problem([middle.cert, root.cert], [root.cert], NOW) is None


def test_another_root_of_the_same_name_is_not_trusted() -> None:
    mine, other = a_root(), a_root()
    middle = issue.intermediate("middle", mine, now=NOW)
    expected = "x509: certificate signed by unknown authority"
    assert expected == trust.problem([middle.cert], [other.cert], NOW)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (NOW - DAY, "not valid before: 2026-03-01T11:59:50Z"),
        (NOW + 2 * DAY, "not valid anymore. Expired at: 2026-03-02T12:00:00Z"),
    ],
)
def test_validity_is_checked(at: object, expected: str) -> None:
    root = a_root(lifetime_s=86400.0)
    assert expected == trust.problem([root.cert], [root.cert], at)  # type: ignore[arg-type]


def test_an_anchor_that_expired_trusts_nothing() -> None:
    root = a_root(lifetime_s=86400.0)
    middle = issue.intermediate("middle", root, now=NOW, lifetime_s=10 * 86400.0)
    assert "not valid anymore" in (trust.problem([middle.cert], [root.cert], NOW + 2 * DAY) or "")


def test_a_leaf_is_no_issuer() -> None:
    root = a_root()
    served = issue.self_signed("a.b.svc", dns_names=["a.b.svc"], now=NOW)
    assert trust.problem([served.cert], [root.cert], NOW) is not None


def test_reads_issuer_files() -> None:
    root = a_root()
    issuer = trust.parse_issuer(root.cert_pem, root.key_pem)
    assert (root.cert,) == issuer.chain
    assert root.key_pem == keys.render(issuer.credential.key)


def test_refuses_a_key_of_another_certificate() -> None:
    with pytest.raises(PkiError, match="private key does not match public key"):
        trust.parse_issuer(a_root().cert_pem, a_root().key_pem)


def test_refuses_another_curve() -> None:
    key = a_p384_key()
    with pytest.raises(PkiError, match="curve secp384r1, expected P-256"):
        keys.parse(keys.render(key))


def test_refuses_a_bundle_without_certificates() -> None:
    with pytest.raises(PkiError, match="cannot read certificates"):
        trust.parse_bundle("no certificate here")


def test_the_digest_ignores_space_around() -> None:
    assert digest.bundle_sha256("A") == digest.bundle_sha256("\nA\n")
