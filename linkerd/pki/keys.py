"""Private keys: made, read and written; ECDSA P-256 is the only kind that is made."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from linkerd.errors import PkiError

EcKey = ec.EllipticCurvePrivateKey


def generate() -> EcKey:
    """Returns a fresh ECDSA P-256 key from the operating system's randomness."""
    return ec.generate_private_key(ec.SECP256R1())


def parse(pem: str | bytes) -> EcKey:
    """Returns the ECDSA P-256 key of a PEM text (SEC 1 or PKCS #8).

    Raises:
        PkiError: not PEM, encrypted, or another kind of key.
    Source: linkerd2 pkg/tls/keys.go (accepted kinds).
    """
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise PkiError(f"cannot read private key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"private key is {type(key).__name__}, expected ECDSA P-256")
    if not isinstance(key.curve, ec.SECP256R1):
        raise PkiError(f"private key is on curve {key.curve.name}, expected P-256")
    return key


def render(key: EcKey) -> str:
    """Returns the key as `EC PRIVATE KEY` PEM, the form that Linkerd's issuer secret carries."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def same(one: PublicKeyTypes, other: PublicKeyTypes) -> bool:
    """Returns whether two public keys are equal."""
    return _der(one) == _der(other)


def describe(key: PublicKeyTypes) -> str:
    """Returns the algorithm and size of a public key for messages: `ECDSA P-256`, `RSA 2048`."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA P-{key.curve.key_size}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
