"""The tap daemon behind a real API server's configuration, in front of a real gRPC proxy port.

Not covered: the proxy's own tap server (tests of the proxy) and the aggregator's relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import httpx2
import pytest

from linkerd.daemons import tap as daemon
from linkerd.errors import Conflict, Forbidden, MetricsError
from linkerd.gen import tap_pb2, tap_pb2_grpc
from linkerd.gen import viz_pb2 as viz
from linkerd.gen import viz_tap_pb2 as tap
from linkerd.kube.client import KubeClient
from linkerd.kube.config import KubeConfig, load
from linkerd.kube.resources import NAMESPACES, PODS
from linkerd.pki import issue
from linkerd.viz.tap import client, framing, request
from linkerd.viz.tap.request import Wish
from tests.ports import free_port
from tests.wire import local_server

pytestmark = pytest.mark.timeout(180)
PATH = f"{request.ROOT}/watch/namespaces/emojivoto/pods/web/tap"


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_server.LocalServer]:
    with local_server.running(tmp_path_factory.mktemp("tap")) as running:
        yield running


class Proxy(tap_pb2_grpc.TapServicer):
    """Reports one request per window, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tap_pb2.ObserveRequest] = []
        self.identities: list[str] = []

    async def Observe(  # noqa: N802
        self, request: tap_pb2.ObserveRequest, context: Any
    ) -> AsyncIterator[tap_pb2.TapEvent]:
        self.asked.append(request)
        self.identities += [v for k, v in context.invocation_metadata() if k == "l5d-require-id"]
        event = tap_pb2.TapEvent(proxy_direction=tap_pb2.TapEvent.INBOUND)
        event.source.ip.ipv4 = event.destination.ip.ipv4 = 0x7F000001
        event.http.request_init.path = "/api/vote"
        yield event


@contextlib.asynccontextmanager
async def a_proxy() -> AsyncIterator[tuple[Proxy, int]]:
    proxy, server = Proxy(), grpc.aio.server()
    tap_pb2_grpc.add_TapServicer_to_server(proxy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield proxy, port
    finally:
        await server.stop(0)


async def a_meshed_pod(kube: KubeClient, name: str, annotations: dict[str, str]) -> None:
    meta = {
        "name": name,
        "namespace": "emojivoto",
        "labels": {"linkerd.io/control-plane-ns": "linkerd"},
        "annotations": annotations,
    }
    spec = {"containers": [{"name": "linkerd-proxy", "image": "proxy"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    made = await kube.create(PODS, pod, "emojivoto")
    made["status"] = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    await kube.update_status(PODS, made)


@contextlib.asynccontextmanager
async def a_tap(
    api_server: local_server.LocalServer, folder: Path
) -> AsyncIterator[tuple[int, Proxy, str]]:
    """A running daemon: its port, the proxy that it asks, its certificate."""
    paths = api_server.paths
    serving = issue.self_signed(
        "tap.linkerd-viz.svc", dns_names=["tap.linkerd-viz.svc"], now=datetime.now(UTC)
    )
    (folder / "tls.crt").write_text(serving.cert_pem)
    (folder / "tls.key").write_text(serving.key_pem)
    port, admin = free_port(), free_port()
    async with a_proxy() as (proxy, tap_port), KubeClient(load(paths.kubeconfig)) as kube:
        with contextlib.suppress(Conflict):
            await kube.create(
                NAMESPACES,
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "emojivoto"}},
            )
            meta = {"name": "default", "namespace": "emojivoto"}
            await kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
            await a_meshed_pod(kube, "web", {"viz.linkerd.io/tap-enabled": "true"})
            await a_meshed_pod(kube, "old", {})
        chosen = daemon.Settings(
            apiserver_addr=("127.0.0.1", port),
            metrics_addr=("127.0.0.1", admin),
            tap_port=tap_port,
            tls_dir=str(folder),
            kubeconfig=str(paths.kubeconfig),
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(daemon.serve(chosen, stop))
            try:
                await until_ready(admin)
                yield port, proxy, serving.cert_pem
            finally:
                stop.set()
                await running


async def until_ready(admin: int) -> None:
    async with asyncio.timeout(60), httpx2.AsyncClient(trust_env=False) as http:
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if (await http.get(f"http://127.0.0.1:{admin}/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


def a_context(ca_pem: str, folder: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca_pem)
    context.check_hostname = False
    if folder is not None:
        context.load_cert_chain(
            folder / "front-proxy-client.crt", folder / "front-proxy-client.key"
        )
    return context


@contextlib.asynccontextmanager
async def a_caller(
    port: int, ca_pem: str, folder: Path | None, user: str
) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        base_url=f"https://127.0.0.1:{port}",
        verify=a_context(ca_pem, folder),
        headers={"X-Remote-User": user, "X-Remote-Group": "system:masters"} if user else {},
        trust_env=False,
        timeout=60,
    ) as http:
        yield http


def the_request(name: str = "web") -> tap.TapByResourceRequest:
    return request.build([f"po/{name}"], Wish("emojivoto", path="/api"))


async def test_events_of_the_proxy_arrive_with_names(
    api_server: local_server.LocalServer, tmp_path: Path
) -> None:
    async with (
        a_tap(api_server, tmp_path) as (port, proxy, ca_pem),
        a_caller(port, ca_pem, api_server.paths.pki, "alice") as http,
    ):
        frames, seen = framing.Frames(), []
        async with http.stream("POST", PATH, content=the_request().SerializeToString()) as answer:
            assert (200, "application/octet-stream") == (
                answer.status_code,
                answer.headers["content-type"],
            )
            async for chunk in answer.aiter_raw():
                seen += [tap.TapEvent.FromString(message) for message in frames.feed(chunk)]
                if len(seen) >= 2:
                    break
    assert "/api/vote" == seen[0].http.request_init.path
    assert "/api" == proxy.asked[0].match.all.matches[0].http.path.prefix
    assert 100 == proxy.asked[0].limit
    assert {"default.emojivoto.serviceaccount.identity.linkerd.cluster.local"} == set(
        proxy.identities
    )


@pytest.mark.parametrize(
    ("certified", "user", "path", "name", "status", "text"),
    [
        (True, "alice", f"{PATH}x", "web", 404, b"/healthz"),
        (False, "alice", PATH, "web", 400, b"no valid client certificate"),
        (True, "", PATH, "web", 400, b"names no user"),
        (True, "alice", PATH.replace("web", "old"), "old", 200, b"tap not enabled"),
        (True, "alice", PATH, "other", 200, b"do not match"),
    ],
)
async def test_refusals_travel_as_clients_expect(
    api_server: local_server.LocalServer,
    tmp_path: Path,
    certified: bool,
    user: str,
    path: str,
    name: str,
    status: int,
    text: bytes,
) -> None:
    async with (
        a_tap(api_server, tmp_path) as (port, _, ca_pem),
        a_caller(port, ca_pem, api_server.paths.pki if certified else None, user) as http,
    ):
        answer = await http.post(path, content=the_request(name).SerializeToString())
    assert (status, True) == (answer.status_code, text in answer.content), answer.content
    if status == 200:
        assert "Internal Server Error" == answer.headers["linkerd-error"]
        (message,) = framing.Frames().feed(answer.content)
        assert viz.ApiError.FromString(message).error


async def test_users_without_the_right_are_refused(
    api_server: local_server.LocalServer, tmp_path: Path
) -> None:
    async with (
        a_tap(api_server, tmp_path) as (port, _, ca_pem),
        a_caller(port, ca_pem, api_server.paths.pki, "mallory") as http,
    ):
        answer = await http.post(
            PATH,
            content=the_request().SerializeToString(),
            headers={"X-Remote-Group": "system:authenticated"},
        )
    assert 403 == answer.status_code
    assert answer.json()["error"].startswith("tap authorization failed (")
    assert answer.json()["error"].endswith("visit https://linkerd.io/tap-rbac for more information")


async def test_discovery_and_health_need_no_certificate(
    api_server: local_server.LocalServer, tmp_path: Path
) -> None:
    async with (
        a_tap(api_server, tmp_path) as (port, _, ca_pem),
        a_caller(port, ca_pem, None, "") as http,
    ):
        assert b"ok" == (await http.get("/healthz")).content
        assert "APIResourceList" == (await http.get(request.ROOT)).json()["kind"]
        assert "tap_streams_open" in (await http.get("/metrics")).text


@contextlib.asynccontextmanager
async def an_answer(head: bytes, body: bytes) -> AsyncIterator[KubeClient]:
    """A server with one fixed answer, and a client of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, KubeClient(KubeConfig(server=f"http://127.0.0.1:{port}")) as kube:
        yield kube


async def test_the_client_takes_errors_from_header_and_body() -> None:
    error = framing.frame(viz.ApiError(error="no pods").SerializeToString())
    head = b"HTTP/1.1 200 OK\r\nlinkerd-error: Internal Server Error\r\n"
    async with an_answer(head, error) as kube:
        with pytest.raises(MetricsError, match="no pods"):
            async with client.events(kube, the_request()):
                pass
    denied = b'{"error":"tap authorization failed (no)"}'
    async with an_answer(b"HTTP/1.1 403 Forbidden\r\n", denied) as kube:
        with pytest.raises(Forbidden, match=r"tap authorization failed \(no\)"):
            async with client.events(kube, the_request()):
                pass


async def test_the_client_reads_events_to_the_end() -> None:
    events = [tap.TapEvent(proxy_direction=tap.TapEvent.INBOUND) for _ in range(3)]
    body = b"".join(framing.frame(event.SerializeToString()) for event in events)
    async with (
        an_answer(b"HTTP/1.1 200 OK\r\n", body) as kube,
        client.events(kube, the_request()) as found,
    ):
        assert events == [event async for event in found]
