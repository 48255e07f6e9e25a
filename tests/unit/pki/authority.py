"""Throw-away authorities and requests for tests of certificates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from linkerd.pki import issue, keys

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
WEB = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local"


def a_request(
    names: Sequence[x509.GeneralName] | None = None,
    *,
    common_name: str | None = WEB,
    key: Any = None,
) -> bytes:
    """Returns a DER request; by default one that a proxy of `WEB` makes."""
    subject = [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    wanted = [x509.DNSName(WEB)] if names is None else list(names)
    if wanted:
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted), critical=False)
    signed = builder.sign(key or keys.generate(), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def an_rsa_key() -> rsa.RSAPrivateKey:
    """Returns a small RSA key."""
    return rsa.generate_private_key(65537, 2048)


def a_p384_key() -> ec.EllipticCurvePrivateKey:
    """Returns an ECDSA key on another curve."""
    return ec.generate_private_key(ec.SECP384R1())


def a_root(name: str = "root.linkerd.cluster.local", **options: Any) -> issue.Credential:
    """Returns a root that began at `NOW`."""
    return issue.root(name, now=options.pop("now", NOW), **options)
