"""The API server that the daemons follow, and the objects in it."""

import asyncio
import base64
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from linkerd.inject import manifest
from linkerd.install import install
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from tests.kubernetes.bed import cluster as bed
from tests.kubernetes.bed.paths import Paths

EMBEDDED, KUBERNETES = "embedded", "kubernetes"
NAMESPACE = "bench"
_AT_ONCE = 16
_START_S = 30.0


class Cluster:
    """A cluster with the control plane's objects installed, but none of its pods."""

    def __init__(self, kube: KubeClient, folder: Path, kubeconfig: Path) -> None:
        self.kube, self.folder, self.kubeconfig = kube, folder, kubeconfig

    async def install(self) -> None:
        """Installs CRDs, RBAC and settings; writes the files that the daemons' pods would mount."""
        await self.kube.apply_all(manifest.parse_all(install.render_crds()))
        options = install.InstallOptions()
        objects = list(manifest.parse_all(install.render_control_plane(options)))
        await self.kube.apply_all(
            each
            for each in objects
            if each["kind"] not in ("Deployment", "CronJob")
            and not each["kind"].endswith("WebhookConfiguration")
        )
        for kind, name in (
            (SECRETS, "linkerd-proxy-injector-k8s-tls"),
            (SECRETS, "linkerd-policy-validator-k8s-tls"),
            (SECRETS, "linkerd-identity-issuer"),
            (CONFIG_MAPS, "linkerd-config"),
            (CONFIG_MAPS, "linkerd-identity-trust-roots"),
        ):
            found = await self.kube.get(kind, name, "linkerd")
            _write_files(self.folder / name, found, encoded=kind is SECRETS)
        await self.kube.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        await self.kube.create(
            SERVICE_ACCOUNTS, {"metadata": {"name": "web", "namespace": NAMESPACE}}
        )

    async def token(self, audience: str, life_s: int) -> str:
        """Returns a token of the service account `web`; another for each length of life."""
        request = {"spec": {"audiences": [audience], "expirationSeconds": life_s}}
        answer = await self.kube.create_subresource(
            SERVICE_ACCOUNTS, "web", "token", request, NAMESPACE
        )
        token: str = answer["status"]["token"]
        return token

    async def service(self, name: str, endpoints: int, first: int) -> dict[str, Any]:
        """Creates a service with meshed pods behind it; returns its EndpointSlice.

        Args:
            name: Its name in the namespace of the bench.
            endpoints: How many pods.
            first: Number of the first pod's address in 10.128.0.0/9.
        """
        await self.kube.create(SERVICES, _service(name))
        await self.pods([(f"{name}-{i}", name, _ip(first + i)) for i in range(endpoints)])
        piece = {
            "metadata": {
                "name": f"{name}-1",
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                {
                    "addresses": [_ip(first + i)],
                    "conditions": {"ready": True},
                    "nodeName": f"node-{i % 10}",
                    "zone": f"zone-{i % 3}",
                    "targetRef": {"kind": "Pod", "name": f"{name}-{i}", "namespace": NAMESPACE},
                }
                for i in range(endpoints)
            ],
        }
        return await self.kube.create(ENDPOINT_SLICES, piece)

    async def pods(self, wanted: Iterable[tuple[str, str, str]]) -> None:
        """Creates running, meshed pods from (name, app, address)."""

        async def make(name: str, app: str, ip: str) -> None:
            body = _pod(name, app)
            created = await self.kube.create(PODS, body)
            created["status"] = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
            await self.kube.update_status(PODS, created)

        await _each(make(*each) for each in wanted)

    async def services(self, count: int) -> None:
        """Creates services without endpoints."""
        await _each(self.kube.create(SERVICES, _service(f"spare-{i}")) for i in range(count))


async def _each(jobs: Iterable[Any]) -> None:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(job: Any) -> None:
        async with slots:
            await job

    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(one(job))


def _ip(number: int) -> str:
    return f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _service(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    }


def _pod(name: str, app: str) -> dict[str, Any]:
    """A pod as the injector leaves it, with what other controllers add, about 6 kB."""
    variables = {
        "LINKERD2_PROXY_INBOUND_LISTEN_ADDR": "[::]:4143",
        "LINKERD2_PROXY_ADMIN_LISTEN_ADDR": "[::]:4191",
        "LINKERD2_PROXY_CONTROL_LISTEN_ADDR": "[::]:4190",
        **{f"LINKERD2_PROXY_SETTING_{n}": f"a value of usual length {n}" for n in range(40)},
    }
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {
                "app": app,
                "pod-template-hash": "5d9c7b8f6",
                "linkerd.io/control-plane-ns": "linkerd",
                "linkerd.io/proxy-deployment": app,
                "linkerd.io/workload-ns": NAMESPACE,
            },
            "annotations": {f"example.com/note-{n}": "x" * 60 for n in range(10)},
        },
        "spec": {
            "serviceAccountName": "web",
            "nodeName": f"node-{hash(name) % 10}",
            "containers": [
                {"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]},
                {
                    "name": "linkerd-proxy",
                    "image": "cr.l5d.io/linkerd/proxy:x",
                    "env": [{"name": k, "value": v} for k, v in variables.items()],
                    "ports": [{"containerPort": 4143, "name": "linkerd-proxy"}],
                },
            ],
        },
    }


def _write_files(folder: Path, found: dict[str, Any], *, encoded: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (found.get("data") or {}).items():
        data = base64.b64decode(text) if encoded else text.encode()
        (folder / name).write_bytes(data)


def of_api(api: str, folder: Path) -> contextlib.AbstractAsyncContextManager[Cluster]:
    """Returns the cluster of `EMBEDDED`, of `KUBERNETES`, or of a kubeconfig."""
    if api == EMBEDDED:
        return local(folder)
    if api == KUBERNETES:
        return real(folder)
    return given(Path(api), folder)


@contextlib.asynccontextmanager
async def real(folder: Path) -> AsyncIterator[Cluster]:
    """Yields a cluster of the test bed's etcd and kube-apiserver (root, Go)."""
    paths = Paths("bench")
    bed.provide()
    # Not in a thread: the bed ends with the thread that started it.
    bed.up(paths, api_only=True, follow=True)
    try:
        async with given(paths.kubeconfig, folder) as cluster:
            yield cluster
    finally:
        bed.down(paths)


@contextlib.asynccontextmanager
async def local(folder: Path) -> AsyncIterator[Cluster]:
    """Yields a cluster of `linkerd local`'s API server alone, no controllers and no node."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "linkerd.local.apiserver"),
        *("--state", str(folder / "state"), "--port", str(port), "--log-level", "warn"),
    )
    try:
        kubeconfig = folder / "state/kubeconfig"
        async with asyncio.timeout(_START_S):
            while not await _listens(port):  # noqa: ASYNC110  (another process)
                await asyncio.sleep(0.05)
        async with given(kubeconfig, folder) as cluster:
            yield cluster
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def given(kubeconfig: Path, folder: Path) -> AsyncIterator[Cluster]:
    """Yields the cluster of a kubeconfig."""
    async with KubeClient(load(str(kubeconfig))) as kube:
        cluster = Cluster(kube, folder, kubeconfig)
        await cluster.install()
        yield cluster


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
