"""Admission over TLS with reloaded certificates; the admin port; the gRPC edge's errors."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from linkerd import metrics
from linkerd.errors import Invalid, NotFound
from linkerd.gen import destination_pb2 as pb
from linkerd.gen import destination_pb2_grpc
from linkerd.kube import admission
from linkerd.kube.server import CertificateFiles
from linkerd.serve import admin, rpc
from linkerd.serve.board import Board
from linkerd.serve.readiness import Readiness


def write_certificate(folder: Path, name: str) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "tls.crt", folder / "tls.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(cert_file), str(key_file)


async def post(port: int, body: bytes, method: str = "POST") -> tuple[int, bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    head = f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")  # type: ignore[assignment]
    return int(head.split(b" ")[1]), rest  # type: ignore[arg-type]


def a_review(name: str) -> bytes:
    return json.dumps(
        {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": "u1", "name": name},
        }
    ).encode()


async def decide(request: dict[str, Any]) -> admission.Response:
    if request["name"] == "bad":
        return admission.Response(allowed=False, message="it is bad")
    if request["name"] == "broken":
        raise Invalid("it is broken")
    return admission.Response(patch=[{"op": "add", "path": "/x", "value": 1}], warnings=("hm",))


async def test_admission_answers_reviews(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path, "one")
    async with admission.serve(decide, "127.0.0.1", 0, cert=cert, key=key) as port:
        status, body = await post(port, a_review("good"))
        response = json.loads(body)["response"]
        assert (200, "u1", True, ["hm"]) == (
            status,
            response["uid"],
            response["allowed"],
            response["warnings"],
        )
        patch = json.loads(base64.b64decode(response["patch"]))
        assert [{"op": "add", "path": "/x", "value": 1}] == patch
        for name, message in (("bad", "it is bad"), ("broken", "it is broken")):
            _, body = await post(port, a_review(name))
            response = json.loads(body)["response"]
            assert (False, message) == (response["allowed"], response["status"]["message"])
        assert 400 == (await post(port, b"nonsense"))[0]
        assert 405 == (await post(port, b"", "GET"))[0]


def test_certificates_are_loaded_again_when_they_change(tmp_path: Path) -> None:
    certificate = CertificateFiles(*write_certificate(tmp_path, "one"))
    assert not certificate.reload()
    write_certificate(tmp_path, "two")
    assert certificate.reload()
    (tmp_path / "tls.key").write_text("nonsense")
    assert not certificate.reload()


async def get(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split(b" ")[1]), body


async def test_the_admin_port_tells_health_and_metrics() -> None:
    ready = Readiness("caches")
    registry = metrics.registry()
    async with admin.serve("127.0.0.1", 0, registry=registry, readiness=ready) as port:
        assert (200, b"pong\n") == await get(port, "/ping")
        assert (200, b"live\n") == await get(port, "/live")
        assert (500, b"not ready: caches\n") == await get(port, "/ready")
        ready.done("caches")
        assert (200, b"ok\n") == await get(port, "/ready?verbose")
        assert 200 == (await get(port, "/metrics"))[0]
        assert 404 == (await get(port, "/nope"))[0]
        assert 405 == (await get(port, "/ping", "POST"))[0]


class Numbers:
    """A snapshot per key."""

    def __init__(self) -> None:
        self.values = {"a": 1}
        self.made = 0
        self.encoded = 0
        self.board: Board[str, int] = Board(self._snapshot, self._encode)

    def set(self, key: str, value: int) -> None:
        self.values[key] = value
        self.board.changed([key])

    def _snapshot(self, key: str) -> tuple[int, list[str]]:
        self.made += 1
        return self.values[key], [key]

    def _encode(self, seen: int | None, now: int) -> list[bytes]:
        self.encoded += 1
        labels = {"seen": str(seen), "now": str(now)}
        return [pb.Update(add=pb.WeightedAddrSet(metric_labels=labels)).SerializeToString()]


async def test_streams_share_one_encoding_and_end_with_their_board() -> None:
    numbers = Numbers()
    registry = metrics.registry()

    def handle(request: pb.GetDestination, reader: rpc.Reader) -> rpc.Feed:
        if request.path == "absent":
            raise NotFound("no such thing")
        if request.path == "bug":
            raise ZeroDivisionError
        return numbers.board.subscribe(request.path, reader)

    service = rpc.service(
        "io.linkerd.proxy.destination.Destination",
        {"Get": rpc.streaming(pb.GetDestination, handle)},
    )
    async with (
        rpc.serve("127.0.0.1", 0, service, registry=registry) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = destination_pb2_grpc.DestinationStub(channel)
        calls: list[Any] = [stub.Get(pb.GetDestination(path="a")) for _ in range(5)]
        for call in calls:
            assert {"seen": "None", "now": "1"} == dict((await call.read()).add.metric_labels)
        numbers.set("a", 2)
        for call in calls:
            assert {"seen": "1", "now": "2"} == dict((await call.read()).add.metric_labels)
        assert (2, 2) == (numbers.made, numbers.encoded)
        numbers.board.close()
        for call in calls:
            assert grpc.aio.EOF == await call.read()
        assert 0 == numbers.board.views
        for path, code, detail in (
            ("absent", grpc.StatusCode.NOT_FOUND, "no such thing"),
            ("bug", grpc.StatusCode.INTERNAL, "internal error"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.Get(pb.GetDestination(path=path)).read()
            assert (code, detail) == (error.value.code(), error.value.details())
    text = metrics.text(registry).decode()
    assert 'grpc_code="NotFound"' in text
    assert 'grpc_server_msg_sent_total{grpc_method="Get"' in text
