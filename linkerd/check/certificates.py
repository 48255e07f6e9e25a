"""Checks of every certificate of the control plane: trust anchors, issuer, webhooks.

Source: linkerd2 pkg/healthcheck/healthcheck.go, pkg/issuercerts (questions, order, texts).
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from linkerd.check import cluster
from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category, Check, failed
from linkerd.errors import CheckFailed, NotFound, PkiError
from linkerd.kube.resources import (
    CONFIG_MAPS,
    MUTATING_WEBHOOKS,
    SECRETS,
    VALIDATING_WEBHOOKS,
    Resource,
)
from linkerd.pki import digest, keys, trust

_MeshProbe = Callable[[Mesh], Awaitable[None]]
_SOON = timedelta(days=60)
#: (name, kind of its webhook configuration).
_WEBHOOKS = (
    ("proxy-injector", MUTATING_WEBHOOKS),
    ("sp-validator", VALIDATING_WEBHOOKS),
    ("policy-validator", VALIDATING_WEBHOOKS),
)
_NEW_ANCHORS = (
    "`linkerd upgrade --identity-trust-anchors-file=FILE | kubectl apply -f -` replaces them; "
    "restart the meshed pods after it"
)
_NEW_ISSUER = (
    "`linkerd upgrade --identity-issuer-certificate-file=FILE --identity-issuer-key-file=FILE "
    "| kubectl apply -f -` replaces it"
)
_NEW_WEBHOOK = "`linkerd upgrade | kubectl apply -f -` makes new ones"
_TRUST_ROOT_ANNOTATION = "linkerd.io/trust-root-sha256"
_TRUST_ANCHORS_VARIABLE = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"


def identity(mesh: Mesh) -> Category:
    """Category linkerd-identity."""

    def check(question: str, anchor: str, probe: _MeshProbe, **kind: Any) -> Check:
        return Check(question, f"l5d-identity-{anchor}", partial(probe, mesh), **kind)

    return Category(
        "linkerd-identity",
        (
            check("certificate config is valid", "cert-config-valid", _config_valid, fatal=True),
            check(
                "trust anchors are using supported crypto algorithm",
                "trustAnchors-use-supported-crypto",
                _anchors_supported,
                fatal=True,
            ),
            check(
                "trust anchors are within their validity period",
                "trustAnchors-are-time-valid",
                _anchors_valid,
                fatal=True,
                remedy=_NEW_ANCHORS,
            ),
            check(
                "trust anchors are valid for at least 60 days",
                "trustAnchors-not-expiring-soon",
                _anchors_lasting,
                warning=True,
                remedy=_NEW_ANCHORS,
            ),
            check(
                "issuer cert is using supported crypto algorithm",
                "issuer-cert-uses-supported-crypto",
                _issuer_supported,
                fatal=True,
                remedy=_NEW_ISSUER,
            ),
            check(
                "issuer cert is within its validity period",
                "issuer-cert-is-time-valid",
                _issuer_valid,
                fatal=True,
                remedy=_NEW_ISSUER,
            ),
            check(
                "issuer cert is valid for at least 60 days",
                "issuer-cert-not-expiring-soon",
                _issuer_lasting,
                warning=True,
                remedy=_NEW_ISSUER,
            ),
            check(
                "issuer cert is issued by the trust anchor",
                "issuer-cert-issued-by-trust-anchor",
                _issuer_trusted,
                remedy=_NEW_ISSUER,
            ),
        ),
    )


def webhooks(mesh: Mesh) -> Category:
    """Category linkerd-webhooks-and-apisvc-tls."""
    checks: list[Check] = []
    for name, resource in _WEBHOOKS:
        checks += [
            Check(
                f"{name} webhook has valid cert",
                f"l5d-{name}-webhook-cert-valid",
                partial(_webhook_valid, mesh, name, resource),
                fatal=True,
                remedy=_NEW_WEBHOOK,
            ),
            Check(
                f"{name} cert is valid for at least 60 days",
                f"l5d-{name}-webhook-cert-not-expiring-soon",
                partial(_webhook_lasting, mesh, name),
                warning=True,
                remedy=_NEW_WEBHOOK,
            ),
        ]
    return Category("linkerd-webhooks-and-apisvc-tls", checks)


def data_plane(mesh: Mesh) -> Category:
    """Category linkerd-identity-data-plane."""
    check = Check(
        "data plane proxies certificate match CA",
        "l5d-identity-data-plane-proxies-certs-match-ca",
        partial(_proxies_trust, mesh),
        warning=True,
    )
    return Category("linkerd-identity-data-plane", (check,))


async def serving_certificate(
    mesh: Mesh, secret: str, old_secret: str, namespace: str
) -> x509.Certificate:
    """Returns the certificate that a webhook or API server serves with.

    Raises:
        CheckFailed: its secret is missing or broken, or the private key in it is another's.
    """
    for name, kind in ((secret, ("tls.crt", "tls.key")), (old_secret, ("crt.pem", "key.pem"))):
        body = await mesh.kube.get_or_none(SECRETS, name, namespace) if name else None
        if body is not None:
            cert, key = (base64.b64decode((body.get("data") or {}).get(one) or "") for one in kind)
            try:
                served = trust.parse_bundle(cert)[0]
                require_key(served, key)
            except PkiError as error:
                raise CheckFailed(f"secret {name}: {error.message}") from None
            return served
    raise CheckFailed(f'secrets "{secret}" not found')


def require_key(cert: x509.Certificate, key_pem: bytes) -> None:
    """Raises PkiError unless the PEM text holds the private key of `cert`."""
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PkiError(f"cannot read the private key: {error}") from None
    if not keys.same(cert.public_key(), key.public_key()):
        raise PkiError("private key does not match public key")


def require_served(cert: x509.Certificate, ca_pem: bytes, dns_name: str, now: datetime) -> None:
    """Raises CheckFailed unless `cert` is for `dns_name` and verified by `ca_pem` at `now`."""
    try:
        roots = trust.parse_bundle(ca_pem)
    except PkiError as error:
        raise CheckFailed(f"caBundle: {error.message}") from None
    names = _dns_names(cert)
    if dns_name not in names:
        raise CheckFailed(f"certificate is valid for {', '.join(names)}, not {dns_name}")
    _require_now(cert, now)
    for root in roots:
        try:
            return cert.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            continue
    raise CheckFailed("x509: certificate signed by unknown authority")


def _dns_names(cert: x509.Certificate) -> list[str]:
    try:
        extension = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def require_lasting(cert: x509.Certificate, now: datetime, what: str) -> None:
    """Raises CheckFailed when `cert` ends within 60 days."""
    if cert.not_valid_after_utc - now < _SOON:
        raise CheckFailed(f"{what} will expire on {_stamp(cert.not_valid_after_utc)}")


async def _anchors(mesh: Mesh) -> list[x509.Certificate]:
    try:
        body = await mesh.kube.get(CONFIG_MAPS, "linkerd-identity-trust-roots", mesh.namespace)
    except NotFound:
        raise CheckFailed('configmaps "linkerd-identity-trust-roots" not found') from None
    try:
        return trust.parse_bundle((body.get("data") or {}).get("ca-bundle.crt") or "")
    except PkiError as error:
        raise CheckFailed(f"trust anchors: {error.message}") from None


async def _issuer(mesh: Mesh) -> trust.Issuer:
    try:
        body = await mesh.kube.get(SECRETS, "linkerd-identity-issuer", mesh.namespace)
    except NotFound:
        raise CheckFailed('secrets "linkerd-identity-issuer" not found') from None
    data = {key: base64.b64decode(value) for key, value in (body.get("data") or {}).items()}
    own = "crt.pem" in data
    cert, key = ("crt.pem", "key.pem") if own else ("tls.crt", "tls.key")
    for name in (cert, key):
        if name not in data:
            raise CheckFailed(f"key {name} containing the issuer's credentials needs to exist")
    try:
        return trust.parse_issuer(data[cert], data[key])
    except PkiError as error:
        raise CheckFailed(error.message) from None


async def _config_valid(mesh: Mesh) -> None:
    identity = (await mesh.config()).get("identity") or {}
    scheme = (identity.get("issuer") or {}).get("scheme")
    if scheme not in ("linkerd.io/tls", "kubernetes.io/tls"):
        raise CheckFailed(f"linkerd-config names the unknown issuer scheme {scheme!r}")
    await _anchors(mesh)
    await _issuer(mesh)


async def _anchors_supported(mesh: Mesh) -> None:
    bad = [_named(cert) for cert in await _anchors(mesh) if not _anchor_supported(cert)]
    if bad:
        raise failed("Invalid trustAnchors:", bad)


def _anchor_supported(cert: x509.Certificate) -> bool:
    key = cert.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        signed_with = cert.signature_hash_algorithm
        return key.key_size in (2048, 4096) and isinstance(signed_with, hashes.SHA256)
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


async def _anchors_valid(mesh: Mesh) -> None:
    now = datetime.now(UTC)
    bad = [_named(cert) + why for cert in await _anchors(mesh) if (why := _invalid(cert, now))]
    if bad:
        raise failed("Invalid anchors:", bad)


async def _anchors_lasting(mesh: Mesh) -> None:
    now = datetime.now(UTC)
    soon = [c for c in await _anchors(mesh) if c.not_valid_after_utc - now < _SOON]
    if soon:
        lines = [f"{_named(c)} will expire on {_stamp(c.not_valid_after_utc)}" for c in soon]
        raise failed("Anchors expiring soon:", lines)


async def _issuer_supported(mesh: Mesh) -> None:
    key = (await _issuer(mesh)).credential.cert.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        used = keys.describe(key)
        raise CheckFailed(f"issuer certificate must use P-256 curve for public key, it uses {used}")


async def _issuer_valid(mesh: Mesh) -> None:
    _require_now((await _issuer(mesh)).credential.cert, datetime.now(UTC))


async def _issuer_lasting(mesh: Mesh) -> None:
    cert = (await _issuer(mesh)).credential.cert
    require_lasting(cert, datetime.now(UTC), "issuer certificate")


async def _issuer_trusted(mesh: Mesh) -> None:
    issuer, anchors = await _issuer(mesh), await _anchors(mesh)
    why = trust.problem(issuer.chain, anchors, datetime.now(UTC))
    if why is not None:
        raise CheckFailed(why)
    values = await mesh.config()
    domain = values.get("identityTrustDomain") or values.get("clusterDomain") or "cluster.local"
    _require_name(issuer.chain[0], f"identity.{mesh.namespace}.{domain}")


def _require_name(cert: x509.Certificate, name: str) -> None:
    """Raises CheckFailed unless `cert` is made out to `name`, as subject or alternative name."""
    attributes = cert.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    names = {str(attribute.value) for attribute in attributes} | set(_dns_names(cert))
    if name not in names:
        raise CheckFailed(f"certificate is valid for {', '.join(sorted(names))}, not {name}")


async def _webhook_valid(mesh: Mesh, name: str, resource: Resource) -> None:
    cert = await _webhook_certificate(mesh, name)
    body = await mesh.kube.get(resource, f"linkerd-{name}-webhook-config")
    webhooks = body.get("webhooks") or ()
    if not webhooks:
        raise CheckFailed(f"{resource.kind} linkerd-{name}-webhook-config has no webhooks")
    for webhook in webhooks:
        bundle = base64.b64decode(webhook["clientConfig"].get("caBundle") or "")
        require_served(cert, bundle, f"linkerd-{name}.{mesh.namespace}.svc", datetime.now(UTC))


async def _webhook_lasting(mesh: Mesh, name: str) -> None:
    require_lasting(await _webhook_certificate(mesh, name), datetime.now(UTC), "certificate")


async def _webhook_certificate(mesh: Mesh, name: str) -> x509.Certificate:
    secret = f"linkerd-{name}"
    return await serving_certificate(mesh, f"{secret}-k8s-tls", f"{secret}-tls", mesh.namespace)


async def _proxies_trust(mesh: Mesh) -> None:
    body = await mesh.kube.get(CONFIG_MAPS, "linkerd-identity-trust-roots", mesh.namespace)
    bundle = (body.get("data") or {}).get("ca-bundle.crt") or ""
    wanted = digest.bundle_sha256(bundle)
    other = []
    for pod in await mesh.data_plane_pods():
        own = cluster.proxy_env(pod, _TRUST_ANCHORS_VARIABLE)
        found = cluster.annotations_of(pod).get(_TRUST_ROOT_ANNOTATION)
        if wanted != (digest.bundle_sha256(own) if own else found):
            other.append(cluster.full_name(pod))
    if other:
        first = "Some pods do not have the current trust bundle and must be restarted:"
        raise failed(first, other)


def _require_now(cert: x509.Certificate, now: datetime) -> None:
    why = _invalid(cert, now)
    if why:
        raise CheckFailed(f"certificate{why}")


def _invalid(cert: x509.Certificate, now: datetime) -> str:
    if now < cert.not_valid_before_utc:
        return f" not valid before: {_stamp(cert.not_valid_before_utc)}"
    if now > cert.not_valid_after_utc:
        return f" not valid anymore. Expired on {_stamp(cert.not_valid_after_utc)}"
    return ""


def _named(cert: x509.Certificate) -> str:
    names = cert.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return f"{cert.serial_number} {str(names[0].value) if names else ''}".rstrip()


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
