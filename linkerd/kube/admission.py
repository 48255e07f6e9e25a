"""Admission webhooks: AdmissionReview in, AdmissionReview out, over HTTPS.

    async def decide(request: dict) -> Response: ...
    async with serve(decide, "0.0.0.0", 8443, cert=..., key=...) as port: ...

Shared by the injectors, the profile validator and the policy validator. A handler's error denies
the request with its message; anything that is no AdmissionReview gets status 400.
Source: linkerd2 controller/webhook/server.go, k8s.io/api admission/v1.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from linkerd import log
from linkerd.errors import LinkerdError
from linkerd.kube import server
from linkerd.runtime import spawn

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Response:
    """The verdict on one request.

    `patch` is a list of JSON Patch operations, empty for none; `message` explains a refusal;
    `warnings` are shown to the user by kubectl; `code` is the HTTP status of a refusal.
    """

    allowed: bool = True
    patch: tuple[dict[str, Any], ...] | list[dict[str, Any]] = ()
    message: str = ""
    warnings: tuple[str, ...] = ()
    code: int = 403


Decide = Callable[[dict[str, Any]], Awaitable[Response]]


def review(body: bytes) -> dict[str, Any]:
    """Returns the AdmissionReview in `body`; its `request` is a mapping with a `uid`.

    Raises:
        ValueError: it is none.
    """
    try:
        document = msgspec.json.decode(body)
    except msgspec.MsgspecError as error:
        raise ValueError(f"body is no JSON: {error}") from None
    request = document.get("request") if isinstance(document, dict) else None
    if not isinstance(request, dict) or "uid" not in request:
        raise ValueError("body is no AdmissionReview with a request")
    return document  # type: ignore[no-any-return]


def answer(document: dict[str, Any], response: Response) -> bytes:
    """Returns the AdmissionReview that answers `document`."""
    verdict: dict[str, Any] = {"uid": document["request"]["uid"], "allowed": response.allowed}
    if response.patch:
        patch = msgspec.json.encode(list(response.patch))
        verdict["patch"] = base64.b64encode(patch).decode()
        verdict["patchType"] = "JSONPatch"
    if response.message:
        verdict["status"] = {"message": response.message}
        if not response.allowed:
            verdict["status"].update(status="Failure", code=response.code)
    if response.warnings:
        verdict["warnings"] = list(response.warnings)
    return msgspec.json.encode(
        {
            "apiVersion": document.get("apiVersion") or "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": verdict,
        }
    )


def handler(decide: Decide) -> server.Handler:
    """Returns the HTTP handler that runs `decide` on every POST, whatever its path."""

    async def handle(request: server.Request) -> server.Answer:
        if request.method != "POST":
            return server.Answer(405, b"POST an AdmissionReview\n")
        try:
            document = review(request.body)
        except ValueError as error:
            return server.Answer(400, f"{error}\n".encode())
        try:
            response = await decide(document["request"])
        except LinkerdError as error:
            _log.warn("admission failed", error=error.message)
            response = Response(allowed=False, message=error.message, code=500)
        return server.Answer(200, answer(document, response), "application/json")

    return handle


@contextlib.asynccontextmanager
async def serve(
    decide: Decide,
    host: str,
    port: int,
    *,
    cert: str,
    key: str,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
) -> AsyncIterator[int]:
    """Serves `decide` over TLS while the context is open; yields the port.

    Args:
        decide: The request of a review → its verdict.
        host: Address to bind.
        port: 0 picks one.
        cert: File of the PEM chain, followed as it changes.
        key: File of its PEM key.
        minimum: Least TLS version.

    Raises:
        OSError: a file or the address cannot be used.
    """
    certificate = server.CertificateFiles(cert, key, minimum=minimum)
    tasks: set[Any] = set()
    spawn(certificate.follow(), name="certificate", into=tasks)
    try:
        async with server.serve(handler(decide), host, port, tls=certificate.context) as bound:
            yield bound
    finally:
        for task in list(tasks):
            task.cancel()
