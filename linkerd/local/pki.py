"""Keys, certificates, tokens and kubeconfigs of one local cluster.

`prepare` makes what is missing and leaves what is there, so that a restart changes nothing.
Everything secret is written 0600 below a 0700 folder. Keys are P-256.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from linkerd.errors import PkiError
from linkerd.local.paths import (
    API_SERVICE_IP,
    CLUSTER_DOMAIN,
    COMPONENTS,
    NODE_API_PORT,
    NODE_IP,
    NODE_NAME,
    Paths,
)

_YEARS_10 = datetime.timedelta(days=3650)
_SKEW = datetime.timedelta(hours=1)

_SERVING_NAMES = (
    "localhost",
    NODE_NAME,
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
)
_SERVING_IPS = ("127.0.0.1", "::1", API_SERVICE_IP, NODE_IP)


@dataclass(frozen=True)
class Authority:
    """A CA: signs leaf certificates."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def prepare(paths: Paths, cluster: str = "default") -> None:
    """Makes the cluster's CAs, serving certificate, signing key and component tokens.

    Idempotent. `cluster` only shows in the CA's name.
    """
    paths.state.mkdir(parents=True, exist_ok=True)
    paths.pki.mkdir(mode=0o700, exist_ok=True)
    ca = _authority(paths.pki, "ca", f"linkerd-local-{cluster}")
    front = _authority(paths.pki, "front-proxy-ca", "front-proxy-ca")
    _leaf(paths.pki, "apiserver", ca, "kube-apiserver", _SERVING_NAMES, _SERVING_IPS)
    _leaf(paths.pki, "front-proxy-client", front, "front-proxy-client")
    if not (paths.pki / "sa.key").exists():
        key = ec.generate_private_key(ec.SECP256R1())
        _write(paths.pki / "sa.pub", _public_pem(key.public_key()))
        _write(paths.pki / "sa.key", _private_pem(key))
    for component in COMPONENTS:
        if not paths.token(component).exists():
            _write(paths.token(component), secrets.token_urlsafe(32).encode())


def write_kubeconfigs(
    paths: Paths, host: str, node: str = "", context: str = "linkerd-local"
) -> None:
    """Writes the admin's kubeconfig and those of the components.

    Args:
        paths: Of the cluster; `prepare` was called.
        host: `host:port` of the API on the host.
        node: `host:port` inside the node's network namespace; default 10.244.0.1:6443.
        context: Name of the context, cluster and user.
    """
    ca = paths.ca_cert.read_bytes()
    inside = node or f"{NODE_IP}:{NODE_API_PORT}"
    for component in COMPONENTS:
        token = paths.token(component).read_text()
        admin = component == "admin"
        target = paths.kubeconfig if admin else paths.component_kubeconfig(component)
        config = kubeconfig(f"https://{host if admin else inside}", ca, token, context)
        _write(target, json.dumps(config, indent=2).encode() + b"\n")


def kubeconfig(server: str, ca_pem: bytes, token: str, context: str) -> dict[str, Any]:
    """Returns a kubeconfig with one context; JSON is valid YAML, so it may be written as either."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": context,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(ca_pem).decode(),
                },
            }
        ],
        "users": [{"name": context, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "current-context": context,
    }


def signing_key(paths: Paths) -> ec.EllipticCurvePrivateKey:
    """Returns the key that signs service-account tokens.

    Raises:
        PkiError: the file holds no P-256 key.
    """
    return _load_key(paths.pki / "sa.key")


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        raise PkiError(f"key {path} cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"key {path} is no P-256 key")
    return key


def _authority(folder: Path, name: str, common_name: str) -> Authority:
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    if cert_file.exists() and key_file.exists():
        cert = x509.load_pem_x509_certificate(cert_file.read_bytes())
        return Authority(cert, _load_key(key_file))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(common_name)
    cert = (
        _builder(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, _private_pem(key))
    _write(cert_file, cert.public_bytes(serialization.Encoding.PEM))
    return Authority(cert, key)


def _leaf(
    folder: Path,
    name: str,
    ca: Authority,
    common_name: str,
    dns_names: tuple[str, ...] = (),
    ips: tuple[str, ...] = (),
) -> None:
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    if cert_file.exists() and key_file.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if dns_names else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(_name(common_name), ca.cert.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()),
            critical=False,
        )
    )
    if dns_names:
        names: list[x509.GeneralName] = [x509.DNSName(dns) for dns in dns_names]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    cert = builder.sign(ca.key, hashes.SHA256())
    _write(key_file, _private_pem(key))
    _write(cert_file, cert.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _YEARS_10)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _write(path: Path, content: bytes) -> None:
    """Writes a private file so that readers see the old or the new content, never half."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.replace(temporary, path)
