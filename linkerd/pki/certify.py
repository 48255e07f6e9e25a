"""The identity service's decision: a token's user and a CSR → a leaf certificate.

Source: linkerd2 pkg/identity/service.go, controller/identity/validator.go (rules, order, texts).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from linkerd.errors import PkiError
from linkerd.pki import csr, issue, trust

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Malformed(PkiError):
    """The request or the token's user has no usable form."""

    grpc_status = 3


class Refused(PkiError):
    """The request is well-formed and not allowed."""

    grpc_status = 9


@dataclass(frozen=True)
class Domain:
    """Where identities live: `<name>.<ns>.serviceaccount.identity.<controller_ns>.<trust_domain>`."""

    controller_ns: str
    trust_domain: str

    def identity(self, username: str) -> str:
        """Returns the identity of `system:serviceaccount:<ns>:<name>`.

        Raises:
            Malformed: the name has another form, or a part is no DNS label.
        """
        parts = username.split(":")
        if len(parts) != 4 or parts[0] != "system":
            raise Malformed(f"username must be in form system:TYPE:NS:SA: {username}")
        if not all(_LABEL.fullmatch(part) for part in parts[1:]):
            raise Malformed(f"not a label: {username}")
        _, kind, namespace, name = parts
        return f"{name}.{namespace}.{kind}.identity.{self.controller_ns}.{self.trust_domain}"


@dataclass(frozen=True)
class Lifetime:
    """How long leaves live, in seconds: `issuance_s` from now, `skew_s` around both ends."""

    issuance_s: float = 86400.0
    skew_s: float = 20.0


@dataclass(frozen=True)
class Certified:
    """The answer to a `Certify` call."""

    leaf_der: bytes
    chain_der: tuple[bytes, ...]
    valid_until: datetime

    @property
    def sha256(self) -> str:
        """Hex digest of the leaf, which names it in events."""
        return hashlib.sha256(self.leaf_der).hexdigest()


def checked_request(identity: str, token: bytes, csr_der: bytes) -> x509.CertificateSigningRequest:
    """Returns the CSR of a request that may be signed, if the token proves the identity.

    Raises:
        Malformed: a field is missing or the CSR is no CSR.
        Refused: the CSR breaks a rule.
    """
    if not identity:
        raise Malformed("missing identity")
    if not token:
        raise Malformed("missing token")
    if not csr_der:
        raise Malformed("missing certificate signing request")
    try:
        request = csr.parse(csr_der)
    except PkiError as error:
        raise Malformed(error.message) from None
    problem = csr.problem(request, identity)
    if problem is not None:
        raise Refused(problem)
    return request


def sign(
    request: x509.CertificateSigningRequest,
    identity: str,
    issuer: trust.Issuer,
    lifetime: Lifetime,
    now: datetime,
) -> Certified:
    """Returns the leaf for a request that `checked_request` passed."""
    leaf = issue.leaf(
        request,
        identity,
        issuer.credential,
        chain=issuer.chain,
        now=now,
        lifetime_s=lifetime.issuance_s,
        skew_s=lifetime.skew_s,
    )
    return Certified(
        leaf.public_bytes(serialization.Encoding.DER),
        tuple(issuer.chain_der),
        leaf.not_valid_after_utc,
    )


def token_username(status: dict[str, object], audiences: Sequence[str]) -> str:
    """Returns the user that a TokenReview's `status` proves, for one of `audiences`.

    Args:
        status: Of the TokenReview.
        audiences: Empty accepts whatever the API server accepts.

    Raises:
        Malformed: the API server could not read the token.
        Refused: the token is not valid, or is meant for someone else.
    """
    error = status.get("error")
    if error:
        raise Malformed(f"token is not valid: {error}")
    if not status.get("authenticated"):
        raise Refused("token could not be authenticated")
    granted = status.get("audiences")
    if audiences and not (isinstance(granted, list) and set(audiences) & set(granted)):
        raise Refused(f"token is for the audiences {granted or []}, not {list(audiences)}")
    user = status.get("user")
    return str(user.get("username", "")) if isinstance(user, dict) else ""
