"""Identity, injector and profile validator as processes serve them, against the embedded API.

The API server is real: tokens, reviews, RBAC from our charts, admission webhooks. Covers what the
daemons do on the wire; the rules themselves are in tests/unit.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509

from linkerd import runtime
from linkerd.daemons import identity, proxy_injector, sp_validator
from linkerd.errors import Forbidden, Invalid, LinkerdError
from linkerd.gen import identity_pb2 as pb
from linkerd.inject import manifest
from linkerd.install import install
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import (
    EVENTS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICE_PROFILES,
    SERVICES,
    VALIDATING_WEBHOOKS,
)
from linkerd.pki import issue, trust
from tests.ports import free_port
from tests.unit.pki.authority import WEB, a_request

pytestmark = pytest.mark.timeout(180)

AUDIENCE = "identity.l5d.io"


@dataclass
class Installed:
    """A cluster with the control plane's objects, and the files that its pods would have."""

    kube: KubeClient
    folder: Path

    async def token(self, account: str, namespace: str, *audiences: str) -> str:
        """Returns a fresh token of a service account."""
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": list(audiences)} if audiences else {},
        }
        answer = await self.kube.create_subresource(
            SERVICE_ACCOUNTS, account, "token", request, namespace
        )
        token: str = answer["status"]["token"]
        return token

    async def kubeconfig(self, account: str) -> str:
        """Returns the path of a kubeconfig that acts as one of the control plane's accounts."""
        config = manifest.parse((self.folder / "state/kubeconfig").read_text())
        config["users"][0]["user"] = {"token": await self.token(account, "linkerd")}
        path = self.folder / f"{account}.kubeconfig"
        path.write_text(manifest.render(config))
        return str(path)


@pytest.fixture
async def installed(tmp_path: Path) -> AsyncIterator[Installed]:
    """Returns a fresh cluster; the namespace emojivoto asks for injection."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "linkerd.local.apiserver"),
        *("--state", str(tmp_path / "state"), "--port", str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _until(lambda: _listens(port))
        async with KubeClient(load(str(tmp_path / "state/kubeconfig"))) as kube:
            await _install(kube, tmp_path)
            yield Installed(kube, tmp_path)
    finally:
        process.terminate()
        await process.wait()


async def _install(kube: KubeClient, folder: Path) -> None:
    await kube.apply_all(manifest.parse_all(install.render_crds()))
    objects = list(manifest.parse_all(install.render_control_plane(install.InstallOptions())))
    await kube.apply_all(objects)
    for one in objects:
        name = one["metadata"]["name"]
        if one["kind"] == "ConfigMap":
            _write(folder / name, one["data"])
        elif one["kind"] == "Secret" and "data" in one:
            decoded = {key: base64.b64decode(value) for key, value in one["data"].items()}
            _write(folder / name, {key: value.decode() for key, value in decoded.items()})
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "emojivoto", "annotations": {"linkerd.io/inject": "enabled"}},
    }
    await kube.create(NAMESPACES, namespace)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}}
    await kube.create(SERVICE_ACCOUNTS, account, "emojivoto")


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _until(condition: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> Any:
    """Awaits `condition` until it returns something true."""
    async with asyncio.timeout(seconds):
        while not (result := await condition()):  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.02)
        return result


@contextlib.asynccontextmanager
async def _running(serve: Callable[[asyncio.Event], Any], port: int) -> AsyncIterator[None]:
    stop = asyncio.Event()
    tasks: set[asyncio.Task[Any]] = set()
    runtime.spawn(serve(stop), name="daemon", into=tasks)
    try:
        await _until(lambda: _ready(port))
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _ready(admin_port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", admin_port)
    except OSError:
        return False
    writer.write(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head = await reader.readline()
    writer.close()
    return b" 200 " in head


async def _event(cluster: Installed, namespace: str, reason: str) -> dict[str, Any]:
    async def find() -> dict[str, Any] | None:
        events = await cluster.kube.list(EVENTS, namespace)
        return next((one for one in events if one["reason"] == reason), None)

    found: dict[str, Any] = await _until(find)
    return found


@contextlib.asynccontextmanager
async def _identity(cluster: Installed) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    settings = identity.Settings(
        addr=("127.0.0.1", free_port()),
        admin_addr=("127.0.0.1", free_port()),
        kubeconfig=await cluster.kubeconfig("linkerd-identity"),
        identity_issuer_dir=str(cluster.folder / "linkerd-identity-issuer"),
        identity_trust_anchors=str(cluster.folder / "linkerd-identity-trust-roots/ca-bundle.crt"),
    )
    async with (
        _running(lambda stop: identity.serve(settings, stop), settings.admin_addr[1]),
        grpc.aio.insecure_channel(f"127.0.0.1:{settings.addr[1]}") as channel,
    ):
        yield channel.unary_unary(
            "/io.linkerd.proxy.identity.Identity/Certify",
            request_serializer=pb.CertifyRequest.SerializeToString,
            response_deserializer=pb.CertifyResponse.FromString,
        )


def _request(token: str, name: str = WEB, csr: bytes | None = None) -> pb.CertifyRequest:
    return pb.CertifyRequest(
        identity=name,
        token=token.encode(),
        certificate_signing_request=csr or a_request(),
    )


async def test_a_token_is_exchanged_for_a_certificate(installed: Installed) -> None:
    async with _identity(installed) as certify:
        token = await installed.token("web", "emojivoto", AUDIENCE)
        answer = await certify(_request(token))
        leaf = x509.load_der_x509_certificate(answer.leaf_certificate)
        chain = [x509.load_der_x509_certificate(der) for der in answer.intermediate_certificates]
        anchors = trust.parse_bundle(
            (installed.folder / "linkerd-identity-trust-roots/ca-bundle.crt").read_text()
        )
        assert trust.problem(chain, anchors, datetime.now(UTC)) is None
        leaf.verify_directly_issued_by(chain[0])
        told = [x509.load_der_x509_certificate(der) for der in answer.trust_anchors]
        assert list(anchors) == told
        assert leaf.not_valid_after_utc == answer.valid_until.ToDatetime(UTC)
        event = await _event(installed, "emojivoto", "IssuedLeafCertificate")
        assert WEB in event["message"]
        assert "web" == event["involvedObject"]["name"]


async def test_what_a_token_does_not_prove_is_refused(installed: Installed) -> None:
    other = WEB.replace("web", "emoji", 1)
    async with _identity(installed) as certify:
        good = await installed.token("web", "emojivoto", AUDIENCE)
        cases = [
            (_request(good, other, a_request([x509.DNSName(other)], common_name=other)), 9),
            (_request(good, csr=a_request([])), 9),
            (_request(good, csr=b"garbage"), 3),
            (_request("garbage"), 3),
            (_request(""), 3),
        ]
        codes = []
        for request, _ in cases:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await certify(request)
            codes.append(caught.value.code().value[0])
        assert [code for _, code in cases] == codes


async def test_a_caller_that_asks_too_often_is_refused(installed: Installed) -> None:
    token = await installed.token("web", "emojivoto", AUDIENCE)
    async with _identity(installed) as certify:
        codes = set()
        for _ in range(200):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await certify(_request("nonsense", csr=b"nonsense"))
            codes.add(caught.value.code())
            if grpc.StatusCode.RESOURCE_EXHAUSTED in codes:
                break
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
        assert (await certify(_request(token))).leaf_certificate


async def test_a_new_issuer_is_taken_over_and_a_broken_one_skipped(installed: Installed) -> None:
    files = installed.folder / "linkerd-identity-issuer"
    async with _identity(installed) as certify:
        old = trust.parse_issuer((files / "crt.pem").read_text(), (files / "key.pem").read_text())
        (files / "crt.pem").write_text("broken")
        await _event(installed, "linkerd", "IssuerUpdateSkipped")
        token = await installed.token("web", "emojivoto", AUDIENCE)
        answer = await certify(_request(token))
        assert old.chain_der == list(answer.intermediate_certificates)
        new = issue.intermediate("new", old.credential, now=datetime.now(UTC))
        (files / "key.pem").write_text(new.key_pem)
        (files / "crt.pem").write_text(new.cert_pem)
        await _event(installed, "linkerd", "IssuerUpdated")
        answer = await certify(_request(token))
        leaf = x509.load_der_x509_certificate(answer.leaf_certificate)
        leaf.verify_directly_issued_by(new.cert)


async def test_an_account_that_may_not_review_tokens_cannot_be_identity(
    installed: Installed,
) -> None:
    settings = identity.Settings(
        addr=("127.0.0.1", 0),
        admin_addr=("127.0.0.1", 0),
        kubeconfig=await installed.kubeconfig("linkerd-heartbeat"),
        identity_issuer_dir=str(installed.folder / "linkerd-identity-issuer"),
        identity_trust_anchors=str(installed.folder / "linkerd-identity-trust-roots/ca-bundle.crt"),
    )
    with pytest.raises(Forbidden, match="not authorized to create tokenreviews"):
        await identity.serve(settings, asyncio.Event())


def _loopback_certificate(folder: Path) -> str:
    """Replaces a webhook's certificate by one for 127.0.0.1; returns its base64."""
    made = issue.self_signed(
        "webhook",
        dns_names=["localhost"],
        ips=[ipaddress.ip_address("127.0.0.1")],
        now=datetime.now(UTC),
    )
    _write(folder, {"tls.crt": made.cert_pem, "tls.key": made.key_pem})
    return base64.b64encode(made.cert_pem.encode()).decode()


@contextlib.asynccontextmanager
async def _injector(cluster: Installed) -> AsyncIterator[None]:
    tls = cluster.folder / "linkerd-proxy-injector-k8s-tls"
    bundle = _loopback_certificate(tls)
    settings = proxy_injector.Settings(
        addr=("127.0.0.1", free_port()),
        metrics_addr=("127.0.0.1", free_port()),
        kubeconfig=await cluster.kubeconfig("linkerd-proxy-injector"),
        tls_dir=str(tls),
        values=str(cluster.folder / "linkerd-config/values"),
        trust_anchors=str(cluster.folder / "linkerd-identity-trust-roots/ca-bundle.crt"),
    )
    name = "linkerd-proxy-injector-webhook-config"
    webhook = await cluster.kube.get(MUTATING_WEBHOOKS, name)
    url = f"https://127.0.0.1:{settings.addr[1]}/"
    webhook["webhooks"][0].update(
        clientConfig={"url": url, "caBundle": bundle}, failurePolicy="Fail"
    )
    async with _running(
        lambda stop: proxy_injector.serve(settings, stop), settings.metrics_addr[1]
    ):
        await cluster.kube.replace(MUTATING_WEBHOOKS, webhook)
        yield


def _pod(name: str, owner: dict[str, Any] | None = None, **annotations: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "annotations": annotations}
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "serviceAccountName": "web",
            "containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]}],
        },
    }


async def test_pods_are_injected_as_they_are_created(installed: Installed) -> None:
    kube = installed.kube
    async with _injector(installed):
        replica_set = await kube.create(REPLICA_SETS, _replica_set(), "emojivoto")
        owner = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": "web-1",
            "uid": replica_set["metadata"]["uid"],
            "controller": True,
        }
        meshed = await kube.create(PODS, _pod("meshed", owner), "emojivoto")
        names = [one["name"] for one in meshed["spec"]["initContainers"]]
        assert ["linkerd-init", "linkerd-proxy"] == names
        assert "web" == meshed["metadata"]["labels"]["linkerd.io/proxy-deployment"]
        event = await _event(installed, "emojivoto", "Injected")
        assert ("Deployment", "web") == (
            event["involvedObject"]["kind"],
            event["involvedObject"]["name"],
        )
        refusal = {"linkerd.io/inject": "disabled"}
        plain = await kube.create(PODS, _pod("plain", owner, **refusal), "emojivoto")
        assert "initContainers" not in plain["spec"]
        await _event(installed, "emojivoto", "InjectionSkipped")


async def test_services_learn_their_opaque_ports(installed: Installed) -> None:
    async with _injector(installed):
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "db"},
            "spec": {"ports": [{"port": 3306}]},
        }
        created = await installed.kube.create(SERVICES, service, "emojivoto")
        assert "3306" == created["metadata"]["annotations"]["config.linkerd.io/opaque-ports"]


def _replica_set() -> dict[str, Any]:
    labels = {"app": "web"}
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u"}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web-1", "ownerReferences": [{**owner, "controller": True}]},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod("x")["spec"]},
        },
    }


async def test_a_profile_that_proxies_could_not_use_is_refused(installed: Installed) -> None:
    tls = installed.folder / "linkerd-sp-validator-k8s-tls"
    bundle = _loopback_certificate(tls)
    settings = sp_validator.Settings(
        addr=("127.0.0.1", free_port()),
        metrics_addr=("127.0.0.1", free_port()),
        tls_dir=str(tls),
    )
    webhook = await installed.kube.get(VALIDATING_WEBHOOKS, "linkerd-sp-validator-webhook-config")
    url = f"https://127.0.0.1:{settings.addr[1]}/"
    webhook["webhooks"][0].update(
        clientConfig={"url": url, "caBundle": bundle}, failurePolicy="Fail"
    )
    async with _running(lambda stop: sp_validator.serve(settings, stop), settings.metrics_addr[1]):
        await installed.kube.replace(VALIDATING_WEBHOOKS, webhook)
        profile = {
            "apiVersion": "linkerd.io/v1alpha2",
            "kind": "ServiceProfile",
            "metadata": {"name": "web.emojivoto.svc.cluster.local"},
            "spec": {"routes": [{"name": "r", "condition": {}}]},
        }
        with pytest.raises(LinkerdError, match="request match with no field set") as caught:
            await installed.kube.create(SERVICE_PROFILES, profile, "emojivoto")
        assert isinstance(caught.value, Invalid | Forbidden)
        profile["spec"] = {"routes": [{"name": "r", "condition": {"method": "GET"}}]}
        await installed.kube.create(SERVICE_PROFILES, profile, "emojivoto")
        await _refuses_old_tls(settings.addr[1])


async def _refuses_old_tls(port: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", port, ssl=context)
