"""The identity controller: proves a proxy's token to the API server and signs its certificate.

gRPC 8080 (`io.linkerd.proxy.identity.Identity/Certify`), admin 9990.
Source: linkerd2 controller/cmd/identity/main.go (flags, files, events).
"""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import CollectorRegistry, Gauge

from linkerd import log, metrics, runtime
from linkerd.daemons._api_metrics import ApiMetrics
from linkerd.daemons._events import Recorder, Subject
from linkerd.errors import Forbidden, LinkerdError, PkiError, Unavailable
from linkerd.gen import identity_pb2 as pb
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import SELF_SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS
from linkerd.model.buckets import Buckets
from linkerd.pki import certify, trust
from linkerd.serve import admin, rpc
from linkerd.serve.readiness import Readiness
from linkerd.settings import address, duration_s, parse, setting

AUDIENCE = "identity.l5d.io"
"""What a proxy's projected token is for. Source: linkerd2 pkg/k8s/k8s.go."""

_FILES = {"linkerd.io/tls": ("crt.pem", "key.pem"), "kubernetes.io/tls": ("tls.crt", "tls.key")}
_LOOK_S = 1.0
_CALLS_BURST = 20
_CALLS_PER_S = 1.0
_CALLERS_MAX = 10_000

_log = log.logger(__name__)


@dataclass(frozen=True)
class Settings:
    """Flags of the identity controller."""

    addr: tuple[str, int] = setting(("0.0.0.0", 8080), "address of gRPC", parse=address)
    admin_addr: tuple[str, int] = setting(("0.0.0.0", 9990), "address of admin", parse=address)
    kubeconfig: str = setting("", "path to a kubeconfig; empty: the pod's service account")
    controller_namespace: str = setting("linkerd", "namespace of the control plane")
    identity_trust_domain: str = setting("cluster.local", "suffix of identities")
    identity_issuance_lifetime: float = setting(86400.0, "life of a leaf", parse=duration_s)
    identity_clock_skew_allowance: float = setting(10.0, "tolerated skew", parse=duration_s)
    identity_scheme: str = setting(
        "linkerd.io/tls", "form of the issuer's files", choices=tuple(_FILES)
    )
    identity_issuer_dir: str = setting("/var/run/linkerd/identity/issuer", "folder of the issuer")
    identity_trust_anchors: str = setting(
        "/var/run/linkerd/identity/trust-roots/ca-bundle.crt", "file of the trust anchors, PEM"
    )
    kube_apiclient_qps: int = setting(100, "accepted for compatibility; the next flag limits")
    kube_apiclient_burst: int = setting(200, "token reviews in flight at once")
    enable_pprof: bool = setting(False, "accepted for compatibility; has no effect")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "form of log lines", choices=log.FORMATS)


class IssuerFiles:
    """The issuer and the anchors, re-read when their files change; a broken set is skipped."""

    def __init__(self, directory: str, scheme: str, anchors: str) -> None:
        cert, key = _FILES[scheme]
        self._paths = (Path(directory, cert), Path(directory, key), Path(anchors))
        self._stamp: tuple[Any, ...] = ()
        self.issuer: trust.Issuer | None = None
        self.anchors: Sequence[Any] = ()
        self._looked_at: datetime | None = None
        self._problem: str | None = None

    def load(self, now: datetime) -> bool:
        """Reads the files if they changed since the last time; returns whether they did.

        Raises:
            PkiError: they cannot be used; what was read before stays in use.
        """
        try:
            stamp = tuple(
                (stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in map(os.stat, self._paths)
            )
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            cert, key, anchors_pem = (path.read_bytes() for path in self._paths)
        except OSError as error:
            raise PkiError(f"cannot read issuer: {error}") from None
        anchors, issuer = trust.parse_bundle(anchors_pem), trust.parse_issuer(cert, key)
        problem = trust.problem(issuer.chain, anchors, now)
        if problem is not None:
            raise PkiError(f"failed to verify issuer credentials with trust anchors: {problem}")
        self.issuer, self.anchors = issuer, anchors
        self._looked_at = None
        return True

    def problem(self, now: datetime) -> str | None:
        """Returns why the issuer is not trusted at `now`; it is looked at once a second."""
        second = now.replace(microsecond=0)
        if self.issuer is not None and self._looked_at != second:
            self._looked_at = second
            self._problem = trust.problem(self.issuer.chain, self.anchors, now)
        return self._problem


class TooManyRequests(PkiError):
    """A caller asks for certificates too often."""

    grpc_status = 8


class UntrustedIssuer(PkiError):
    """The issuer does not chain to the anchors any more."""

    grpc_status = 2


class Service:
    """Answers `Certify`."""

    def __init__(self, settings: Settings, kube: KubeClient, files: IssuerFiles) -> None:
        self._kube, self._files = kube, files
        self._domain = certify.Domain(settings.controller_namespace, settings.identity_trust_domain)
        self._lifetime = certify.Lifetime(
            settings.identity_issuance_lifetime, settings.identity_clock_skew_allowance
        )
        self._reviews = asyncio.Semaphore(max(1, settings.kube_apiclient_burst))
        self._callers = Buckets(_CALLS_BURST, _CALLS_PER_S, _CALLERS_MAX)
        self.events = Recorder(kube, "linkerd-identity")
        self.deployment = Subject(
            "Deployment", "linkerd-identity", settings.controller_namespace, "apps/v1"
        )

    async def certify(self, request: pb.CertifyRequest) -> bytes:
        """Returns the encoded CertifyResponse."""
        issuer = self._files.issuer
        if issuer is None:
            raise Unavailable("cert issuer not ready yet")
        # A pod has a token of its own and needs a certificate once a day.
        if not self._callers.take(hash(request.token), time.monotonic()):
            raise TooManyRequests(f"too many requests for {request.identity}")
        csr = certify.checked_request(
            request.identity, request.token, request.certificate_signing_request
        )
        problem = self._files.problem(datetime.now(UTC))
        if problem is not None:
            self.events.record(self.deployment, "IssuerValidationFailed", problem, warning=True)
            raise UntrustedIssuer(problem)
        username = await self._username(request.token.decode("ascii", "replace"))
        proved = self._domain.identity(username)
        if proved != request.identity:
            raise certify.Refused(
                f"requested identity did not match provided token: "
                f"requested={request.identity}; found={proved}"
            )
        made = certify.sign(csr, proved, issuer, self._lifetime, datetime.now(UTC))
        until = f"{made.valid_until:%Y-%m-%d %H:%M:%S} +0000 UTC"
        message = f"issued certificate for {proved} until {until}: {made.sha256}"
        _, _, namespace, name = username.split(":")
        self.events.record(
            Subject("ServiceAccount", name, namespace), "IssuedLeafCertificate", message
        )
        _log.info("certificate issued", identity=proved, until=until)
        stamp = Timestamp()
        stamp.FromDatetime(made.valid_until)
        return pb.CertifyResponse(
            leaf_certificate=made.leaf_der,
            intermediate_certificates=made.chain_der,
            valid_until=stamp,
            trust_anchors=[cert.public_bytes(Encoding.DER) for cert in self._files.anchors],
        ).SerializeToString()

    async def _username(self, token: str) -> str:
        status = await self._review({"token": token, "audiences": [AUDIENCE]})
        if "token audiences" in str(status.get("error") or ""):
            return certify.token_username(await self._review({"token": token}), ())
        return certify.token_username(status, (AUDIENCE,))

    async def _review(self, spec: dict[str, Any]) -> dict[str, Any]:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "metadata": {},
            "spec": spec,
        }
        try:
            async with self._reviews:
                answer = await self._kube.create(TOKEN_REVIEWS, review)
        except LinkerdError as error:
            raise PkiError(f"token review failed: {error.message}") from error
        status: dict[str, Any] = answer.get("status") or {}
        return status

    async def follow(self) -> None:
        """Looks for new issuer files once per second, for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                if self._files.load(datetime.now(UTC)):
                    _log.info("issuer updated")
                    self.events.record(self.deployment, "IssuerUpdated", "Updated identity issuer")
            except PkiError as error:
                _log.warn("issuer not updated", error=error.message)
                message = f"Skipping issuer update as certs could not be read from disk: {error}"
                self.events.record(self.deployment, "IssuerUpdateSkipped", message, warning=True)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Runs the controller until `stop`.

    Raises:
        PkiError: the issuer cannot be used.
        Forbidden: the controller may not review tokens.
    """
    registry = metrics.registry()
    ready = Readiness("issuer", "grpc")
    files = IssuerFiles(
        settings.identity_issuer_dir, settings.identity_scheme, settings.identity_trust_anchors
    )
    _export_ttl(registry, files)
    async with (
        admin.serve(*settings.admin_addr, registry=registry, readiness=ready),
        KubeClient(load(settings.kubeconfig), observer=ApiMetrics(registry)) as kube,
    ):
        files.load(datetime.now(UTC))
        ready.done("issuer")
        await _check_access(kube)
        service = Service(settings, kube, files)
        register = rpc.service(
            "io.linkerd.proxy.identity.Identity",
            {"Certify": rpc.unary(pb.CertifyRequest, service.certify)},
        )
        async with rpc.serve(*settings.addr, register, registry=registry) as port:
            ready.done("grpc")
            _log.info("identity controller started", port=port)
            tasks: set[asyncio.Task[Any]] = set()
            runtime.spawn(service.events.run(), name="events", into=tasks)
            runtime.spawn(service.follow(), name="issuer", into=tasks)
            await stop.wait()
            for task in list(tasks):
                task.cancel()


async def _check_access(kube: KubeClient) -> None:
    attributes = {"group": "authentication.k8s.io", "resource": "tokenreviews", "verb": "create"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await kube.create(SELF_SUBJECT_ACCESS_REVIEWS, review)
    if not (answer.get("status") or {}).get("allowed"):
        raise Forbidden("not authorized to create tokenreviews.authentication.k8s.io")


def _export_ttl(registry: CollectorRegistry, files: IssuerFiles) -> None:
    gauge = Gauge(
        "issuer_cert_ttl_seconds",
        "The amount of time until the identity issuer certificate expires.",
        registry=registry,
    )

    def ttl_s() -> float:
        if files.issuer is None:
            return 0.0
        end = files.issuer.chain[0].not_valid_after_utc
        return (end - datetime.now(UTC)).total_seconds()

    gauge.set_function(ttl_s)


def main(argv: Sequence[str]) -> int:
    """Runs `linkerd identity`; returns the exit status."""
    try:
        settings = parse(Settings, argv)
    except LinkerdError as error:
        log.configure()
        _log.error("wrong flags", error=error.message)
        return error.exit_code
    log.configure(settings.log_level, settings.log_format)
    # Proxies ask with their identity as common name, which may be longer than X.520 allows.
    warnings.filterwarnings("ignore", "Attribute's length must be", UserWarning)
    return runtime.run(lambda stop: serve(settings, stop))
