"""Certificates that we sign: roots, issuers, leaves for proxies, self-signed ones for webhooks.

Every function takes `now`; keys and serial numbers come from the operating system's randomness
unless they are given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from linkerd.pki import keys

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

YEAR_S = 365 * 86400.0
BACKDATING_S = 10.0
"""Allowance for clocks that are behind, for certificates whose caller names none.
Source: linkerd2 pkg/tls/ca.go (DefaultClockSkewAllowance)."""


@dataclass(frozen=True)
class Credential:
    """A certificate with its key."""

    cert: x509.Certificate
    key: keys.EcKey

    @property
    def cert_pem(self) -> str:
        """The certificate as PEM with a final newline."""
        return self.cert.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The key as `EC PRIVATE KEY` PEM with a final newline."""
        return keys.render(self.key)


def root(
    name: str,
    *,
    now: datetime,
    lifetime_s: float = YEAR_S,
    key: keys.EcKey | None = None,
) -> Credential:
    """Returns a self-signed CA certificate, as `linkerd install` makes when none is given.

    Args:
        name: Common name and DNS name: `identity.<namespace>.<trust domain>`.
        now: When it begins, less `BACKDATING_S`.
        lifetime_s: How long it is valid after `now`.
        key: Its key; default: a new one.
    Source: linkerd2 pkg/tls/ca.go GenerateRootCAWithDefaults (behaviour).
    """
    own = key or keys.generate()
    builder = _builder(name, own.public_key(), now, lifetime_s, BACKDATING_S)
    builder = _as_ca(builder.issuer_name(_name(name)), own.public_key(), path_length=None)
    return Credential(builder.sign(own, hashes.SHA256()), own)


def intermediate(
    name: str,
    parent: Credential,
    *,
    now: datetime,
    lifetime_s: float = YEAR_S,
    key: keys.EcKey | None = None,
) -> Credential:
    """Returns a CA certificate signed by `parent` that may sign leaves only (path length 0)."""
    own = key or keys.generate()
    builder = _builder(name, own.public_key(), now, lifetime_s, BACKDATING_S)
    builder = _as_ca(builder.issuer_name(parent.cert.subject), own.public_key(), path_length=0)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(parent.key.public_key()), critical=False
    )
    return Credential(builder.sign(parent.key, hashes.SHA256()), own)


def self_signed(
    name: str,
    *,
    dns_names: Sequence[str],
    ips: Sequence[IpAddress] = (),
    lifetime_s: float = YEAR_S,
    now: datetime,
) -> Credential:
    """Returns a server certificate that is its own CA, as webhooks and API services use."""
    own = keys.generate()
    names: list[x509.GeneralName] = [x509.DNSName(dns) for dns in dns_names]
    names += [x509.IPAddress(ip) for ip in ips]
    builder = _as_ca(
        _builder(name, own.public_key(), now, lifetime_s, BACKDATING_S, names).issuer_name(
            _name(name)
        ),
        own.public_key(),
        path_length=None,
        leaf_too=True,
    )
    builder = builder.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
        critical=False,
    )
    return Credential(builder.sign(own, hashes.SHA256()), own)


def leaf(
    csr: x509.CertificateSigningRequest,
    identity: str,
    issuer: Credential,
    *,
    chain: Sequence[x509.Certificate],
    now: datetime,
    lifetime_s: float,
    skew_s: float,
) -> x509.Certificate:
    """Returns a proxy's certificate for the key and subject of a checked `csr`.

    Valid from `now − skew_s` to `now + lifetime_s + skew_s`, never beyond the first end in `chain`.

    Args:
        csr: Passed `csr.check`; its key is ECDSA.
        identity: The only DNS name.
        issuer: Signs.
        chain: The issuer's certificate and those above it, that the proxy gets along.
        now: Aware UTC time.
        lifetime_s: Issuance lifetime.
        skew_s: Clock skew allowance.
    Source: linkerd2 pkg/tls/ca.go (key usages, validity, clamping); serials are random here, RFC
    5280 §4.1.2.2.
    """
    key = csr.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise AssertionError("csr.check admits ECDSA keys only")
    until = min([_utc(now + timedelta(seconds=lifetime_s + skew_s)), *_ends(chain)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(issuer.cert.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=skew_s))
        .not_valid_after(until)
        .add_extension(_LEAF_USAGE, critical=True)
        .add_extension(_LEAF_PURPOSES, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
            critical=False,
        )
        # A subject without a name makes the alternative name the subject: RFC 5280 §4.2.1.6.
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(identity)]), critical=not list(csr.subject)
        )
    )
    return builder.sign(issuer.key, hashes.SHA256())


def _ends(chain: Sequence[x509.Certificate]) -> list[datetime]:
    return [cert.not_valid_after_utc for cert in chain]


def _utc(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    name: str,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime_s: float,
    skew_s: float,
    names: Sequence[x509.GeneralName] = (),
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=skew_s))
        .not_valid_after(now + timedelta(seconds=lifetime_s))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    return builder


def _as_ca(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePublicKey,
    *,
    path_length: int | None,
    leaf_too: bool = False,
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), True)
        .add_extension(_key_usage(signs_certs=True, is_leaf=leaf_too), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certs: bool, is_leaf: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=is_leaf,
        key_encipherment=is_leaf,
        key_cert_sign=signs_certs,
        crl_sign=signs_certs,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


_LEAF_USAGE = _key_usage(signs_certs=False, is_leaf=True)
_LEAF_PURPOSES = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)
