"""Certificate signing requests of proxies: parsed, and judged by the identity service's rules."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from linkerd.errors import PkiError


def parse(der: bytes) -> x509.CertificateSigningRequest:
    """Returns the request.

    Raises:
        PkiError: `der` is not a PKCS #10 request.
    """
    try:
        return x509.load_der_x509_csr(der)
    except ValueError as error:
        raise PkiError(f"cannot read certificate signing request: {error}") from None


def problem(csr: x509.CertificateSigningRequest, identity: str) -> str | None:
    """Returns why `csr` may not be signed for `identity`, None when it may.

    The request's own signature is checked too: it proves that the caller holds the key, which
    Linkerd leaves out.
    Source: linkerd2 pkg/identity/service.go checkCSR (rules); RFC 2986 §4.2 (signature).
    """
    try:
        key = csr.public_key()
        names = _alternative_names(csr)
        common = [
            str(attr.value) for attr in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ]
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        return f"CSR cannot be read: {error}"
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return f"CSR has a key of kind {type(key).__name__}, expected ECDSA"
    if not _signature_holds(csr):
        return "CSR is not signed by its own key"
    dns = [name.value for name in names if isinstance(name, x509.DNSName)]
    if len(dns) != 1:
        return f"CSR must have exactly one DNSName, has {len(dns)}"
    if dns[0] != identity:
        return f"CSR name does not match requested identity: csr={dns[0]}; req={identity}"
    if common not in ([], [""], [identity]):
        return f"invalid CN in CSR: {','.join(common)}"
    others = [type(name).__name__ for name in names if not isinstance(name, x509.DNSName)]
    if others:
        return f"CSR must not name anything but one DNSName: {','.join(others)}"
    return None


def _alternative_names(csr: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        return list(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _signature_holds(csr: x509.CertificateSigningRequest) -> bool:
    try:
        return csr.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
