"""Trust anchors and the issuer whose chain ends at one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from linkerd.errors import PkiError
from linkerd.pki import keys
from linkerd.pki.issue import Credential

_CHAIN_MAX = 10


def parse_bundle(pem: str | bytes) -> list[x509.Certificate]:
    """Returns the certificates of a PEM text in order; text around them is ignored.

    Raises:
        PkiError: there is no certificate, or one of them is broken.
    """
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise PkiError(f"cannot read certificates: {error}") from None


@dataclass(frozen=True)
class Issuer:
    """What signs leaves.

    `chain` begins with the issuer's own certificate; each is signed by the next. The last need not
    be an anchor.
    """

    credential: Credential
    chain: tuple[x509.Certificate, ...]

    @property
    def chain_der(self) -> list[bytes]:
        """The chain as the proxy gets it after its own certificate."""
        return [cert.public_bytes(serialization.Encoding.DER) for cert in self.chain]


def parse_issuer(cert_pem: str | bytes, key_pem: str | bytes) -> Issuer:
    """Returns the issuer of the two files of the issuer secret.

    Raises:
        PkiError: a file is broken, the key is not ECDSA P-256 or does not fit the certificate.
    Source: linkerd2 pkg/tls/cred.go ValidateAndCreateCreds (behaviour).
    """
    chain = parse_bundle(cert_pem)
    key = keys.parse(key_pem)
    if not keys.same(chain[0].public_key(), key.public_key()):
        raise PkiError("tls: private key does not match public key")
    return Issuer(Credential(chain[0], key), tuple(chain))


def problem(
    chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], now: datetime
) -> str | None:
    """Returns why a chain of CA certificates is not trusted at `now`, None when it is.

    Args:
        chain: The certificate in question, then those above it.
        anchors: Trusted as they are, but not beyond their own validity.
        now: Aware UTC time.
    """
    current = chain[0]
    rest = list(chain[1:])
    for _ in range(_CHAIN_MAX):
        why = _unusable(current, now)
        if why is not None:
            return why
        if any(keys.same(current.public_key(), anchor.public_key()) for anchor in anchors):
            return None
        anchor = next((one for one in anchors if _issued_by(current, one)), None)
        if anchor is not None:
            return _unusable(anchor, now)
        parent = next((one for one in rest if _issued_by(current, one)), None)
        if parent is None:
            break
        rest.remove(parent)
        current = parent
    return "x509: certificate signed by unknown authority"


def _unusable(cert: x509.Certificate, now: datetime) -> str | None:
    begin, end = cert.not_valid_before_utc, cert.not_valid_after_utc
    if now < begin:
        return f"not valid before: {begin:%Y-%m-%dT%H:%M:%SZ}"
    if now > end:
        return f"not valid anymore. Expired at: {end:%Y-%m-%dT%H:%M:%SZ}"
    try:
        basic = cert.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        basic = None
    if basic is None or not basic.ca:
        return f"certificate {cert.subject.rfc4514_string()} is not a CA"
    return None


def _issued_by(cert: x509.Certificate, parent: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
