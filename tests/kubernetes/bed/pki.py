"""Certificates and kubeconfigs of a bed, made anew for each."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.kubernetes.bed.paths import (
    API_SERVICE_IP,
    API_URL,
    CLUSTER_DOMAIN,
    NODE_IP,
    NODE_NAME,
    Paths,
)

_LIFETIME = datetime.timedelta(days=30)
_SKEW = datetime.timedelta(hours=1)
_SERVER_NAMES = (
    "localhost",
    NODE_NAME,
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
)
_SERVER_IPS = ("127.0.0.1", API_SERVICE_IP, NODE_IP)
#: File → common name and organization of those who log in.
CLIENTS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
    "apiserver-kubelet": ("kube-apiserver-kubelet-client", "system:masters"),
}


def prepare(paths: Paths, host_port: int) -> None:
    """Writes the CAs, all certificates and keys, and a kubeconfig per component.

    The administrator's kubeconfig names `host_port` on loopback, the others the node's address.
    """
    paths.pki.mkdir(parents=True, exist_ok=True)
    ca = _authority(paths, "ca", "kubernetes")
    front_proxy = _authority(paths, "front-proxy-ca", "front-proxy-ca")
    _issue(paths, "apiserver", ca, _subject("kube-apiserver"), server=True)
    _issue(paths, "kubelet-server", ca, _subject(f"system:node:{NODE_NAME}"), server=True)
    _issue(paths, "front-proxy-client", front_proxy, _subject("front-proxy-client"))
    for name, (common_name, organization) in CLIENTS.items():
        _issue(paths, name, ca, _subject(common_name, organization))
        (paths.config / f"{name}.kubeconfig").write_text(_kubeconfig(paths, name, API_URL))
    _write_key(paths.pki / "service-account.key", ec.generate_private_key(ec.SECP256R1()))
    paths.kubeconfig.write_text(_kubeconfig(paths, "admin", f"https://127.0.0.1:{host_port}"))
    paths.kubeconfig.chmod(0o600)


class _Authority:
    def __init__(self, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.cert = cert
        self.key = key


def _subject(common_name: str, organization: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _builder(subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
    )


def _authority(paths: Paths, name: str, common_name: str) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(common_name)
    cert = (
        _builder(subject, subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(paths, name, cert, key)
    return _Authority(cert, key)


def _issue(
    paths: Paths, name: str, ca: _Authority, subject: x509.Name, *, server: bool = False
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(subject, ca.cert.subject).public_key(key.public_key())
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if server:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names: list[x509.GeneralName] = [x509.DNSName(one) for one in _SERVER_NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(one)) for one in _SERVER_IPS]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    _write(paths, name, builder.sign(ca.key, hashes.SHA256()), key)


def _write(
    paths: Paths, name: str, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    Path(paths.certificate(name)).write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    _write_key(Path(paths.key(name)), key)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def _kubeconfig(paths: Paths, name: str, server: str) -> str:
    def data(path: str) -> str:
        return base64.b64encode(Path(path).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": data(paths.certificate("ca"))}
    user = {
        "client-certificate-data": data(paths.certificate(name)),
        "client-key-data": data(paths.key(name)),
    }
    # JSON is YAML.
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bed", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": name}}],
            "current-context": "bed",
        },
        indent=1,
    )
