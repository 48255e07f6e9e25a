"""Load that is no gRPC stream: admission reviews, and the request of a certificate."""

import asyncio
import json
import ssl
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from bench.control_plane.cluster import NAMESPACE
from linkerd.gen import identity_pb2
from linkerd.pki import keys


def certify_request(token: str) -> bytes:
    """The encoded request of a proxy of the service account `web`."""
    name = f"web.{NAMESPACE}.serviceaccount.identity.linkerd.cluster.local"
    signed = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(keys.generate(), hashes.SHA256())
    )
    return identity_pb2.CertifyRequest(
        identity=name,
        token=token.encode(),
        certificate_signing_request=signed.public_bytes(serialization.Encoding.DER),
    ).SerializeToString()


def _review() -> bytes:
    pod = {
        "metadata": {
            "generateName": "web-5d9c7b8f6-",
            "namespace": NAMESPACE,
            "labels": {"app": "web", "pod-template-hash": "5d9c7b8f6"},
            "annotations": {"linkerd.io/inject": "enabled"},
        },
        "spec": {
            "serviceAccountName": "web",
            "containers": [
                {
                    "name": "web",
                    "image": "web:1",
                    "ports": [{"containerPort": 8080, "name": "http"}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
                    "volumeMounts": [
                        {
                            "name": "kube-api-access",
                            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                        }
                    ],
                }
            ],
            "volumes": [{"name": "kube-api-access", "projected": {"sources": []}}],
        },
    }
    request = {
        "uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": NAMESPACE,
        "operation": "CREATE",
        "object": {"apiVersion": "v1", "kind": "Pod", **pod},
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(review).encode()


async def reviews(port: int, count: int, clients: int) -> list[float]:
    """Has pods reviewed on keep-alive connections; returns milliseconds of each.

    Raises:
        RuntimeError: an answer is not a review with a patch.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    body = _review()
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    samples: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        for _ in range(count // clients):
            began = time.perf_counter()
            writer.write(head + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(answer.partition("content-length:")[2].partition("\r\n")[0])
            content = await reader.readexactly(length)
            samples.append((time.perf_counter() - began) * 1000)
            if b'"patch"' not in content:
                raise RuntimeError(f"not injected: {content[:300]!r}")
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return samples
