"""The certificate that a pod's proxy shows, and its rendering in the manner of `openssl x509 -text`.

Source: linkerd2 cli/cmd/identity.go (where it is asked: a TLS handshake with the admin port).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from linkerd.check import cluster
from linkerd.errors import LinkerdError, Unavailable
from linkerd.kube import streams
from linkerd.kube.client import KubeClient

_TIMEOUT_S = 10.0
_HINT = "Could not fetch Certificate. Ensure that the pod(s) are meshed by running `linkerd inject`"
_NOT_MESHED = "the pod has no proxy with an identity"


async def of_pod(kube: KubeClient, pod: dict[str, Any]) -> x509.Certificate:
    """Returns the leaf that the pod's proxy serves on its admin port.

    Raises:
        Unavailable: the pod is not meshed or its proxy does not answer.
    """
    name = cluster.proxy_env(pod, "LINKERD2_PROXY_IDENTITY_LOCAL_NAME")
    if cluster.proxy_container(pod) is None:
        raise Unavailable(_NOT_MESHED, hint=_HINT)
    metadata = pod["metadata"]
    context = ssl.create_default_context()
    # The handshake is only read: whom to trust is what the user wants to see.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    server = _server_name(name, pod)
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            streams.port_forward(
                kube, metadata["name"], metadata["namespace"], _admin_port(pod)
            ) as (host, port),
        ):
            _, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=server
            )
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
    except (OSError, TimeoutError, LinkerdError) as error:
        raise Unavailable(f"{metadata['name']}: {error or 'no answer'}", hint=_HINT) from None
    return x509.load_der_x509_certificate(der)


def _server_name(template: str, pod: dict[str, Any]) -> str:
    """The identity in the pod's environment, with Kubernetes' references to other variables."""
    metadata = pod["metadata"]
    account = pod["spec"].get("serviceAccountName") or "default"
    name = template.replace("$(_pod_ns)", metadata["namespace"]).replace("$(_pod_sa)", account)
    return (
        name or f"{account}.{metadata['namespace']}.serviceaccount.identity.linkerd.cluster.local"
    )


def _admin_port(pod: dict[str, Any]) -> int:
    listen = cluster.proxy_env(pod, "LINKERD2_PROXY_ADMIN_LISTEN_ADDR")
    return int(listen.rpartition(":")[2] or 4191)


def as_text(cert: x509.Certificate) -> str:
    """Returns the certificate in words."""
    key = cert.public_key()
    lines = [
        "Certificate:",
        "    Data:",
        "        Version: 3 (0x2)",
        f"        Serial Number: {cert.serial_number} (0x{cert.serial_number:x})",
        f"    Signature Algorithm: {cert.signature_algorithm_oid._name}",
        f"        Issuer: {cert.issuer.rfc4514_string()}",
        "        Validity",
        f"            Not Before: {cert.not_valid_before_utc:%b %e %H:%M:%S %Y} UTC",
        f"            Not After : {cert.not_valid_after_utc:%b %e %H:%M:%S %Y} UTC",
        f"        Subject: {cert.subject.rfc4514_string()}",
        "        Subject Public Key Info:",
    ]
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        lines += [
            "            Public Key Algorithm: ECDSA",
            f"                Public-Key: ({key.key_size} bit)",
            *_hex(point, 20),
            f"                Curve: {key.curve.name}",
        ]
    lines.append("        X509v3 extensions:")
    for extension in cert.extensions:
        critical = ": critical" if extension.critical else ":"
        lines.append(f"            {extension.oid._name}{critical}")
        lines.append(f"                {_value(extension.value)}")
    lines += [f"    Signature Algorithm: {cert.signature_algorithm_oid._name}"]
    return "\n".join([*lines, *_hex(cert.signature, 9)])


def _value(value: x509.ExtensionType) -> str:
    if isinstance(value, x509.SubjectAlternativeName):
        return ", ".join(f"DNS:{name}" for name in value.get_values_for_type(x509.DNSName))
    if isinstance(value, x509.BasicConstraints):
        return f"CA:{str(value.ca).upper()}"
    if isinstance(value, x509.ExtendedKeyUsage):
        return ", ".join(usage._name for usage in value)
    if isinstance(value, x509.KeyUsage):
        named = {"digital_signature": "Digital Signature", "key_encipherment": "Key Encipherment"}
        return ", ".join(text for name, text in named.items() if getattr(value, name)) or "-"
    if isinstance(value, x509.AuthorityKeyIdentifier):
        return "keyid:" + (value.key_identifier or b"").hex(":").upper()
    if isinstance(value, x509.SubjectKeyIdentifier):
        return value.digest.hex(":").upper()
    return str(value)


def _hex(data: bytes, indent: int) -> list[str]:
    lines = (data[at : at + 18].hex(":") for at in range(0, len(data), 18))
    return [" " * indent + line for line in lines]
