"""metrics-api over gRPC against a real Prometheus that scrapes a tiny exporter.

Not covered: the watches that feed the cluster (tests of `linkerd.kube`).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from linkerd import metrics
from linkerd.daemons.metrics_api import service
from linkerd.errors import MetricsError, NotFound
from linkerd.kube.client import KubeClient
from linkerd.kube.config import KubeConfig
from linkerd.serve import admin, rpc
from linkerd.serve.readiness import Readiness
from linkerd.viz import client
from linkerd.viz.api import MetricsApi, Scope
from linkerd.viz.kinds import Target
from linkerd.viz.prometheus import Prometheus
from tests.ports import free_port
from tests.unit.viz.builders import emojivoto

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus"),
]


def exporter() -> tuple[CollectorRegistry, Counter, Histogram]:
    """What two proxies export: web answers requests, vote-bot holds a connection to it."""
    registry = CollectorRegistry()
    own = {"direction": "inbound", "namespace": "emojivoto", "deployment": "web", "pod": "web-1-a"}
    responses = Counter("response", "r", [*own, "classification", "tls"], registry=registry)
    latency = Histogram(
        "response_latency_ms", "l", list(own), buckets=(1, 10, 100), registry=registry
    )
    names = [
        "direction",
        "peer",
        "namespace",
        "deployment",
        "pod",
        "dst_namespace",
        "dst_deployment",
        "server_id",
    ]
    connections = Gauge("tcp_open_connections", "c", names, registry=registry)
    account = "emoji.emojivoto.serviceaccount.identity.linkerd.cluster.local"
    connections.labels(
        "outbound", "dst", "emojivoto", "web", "web-1-a", "emojivoto", "emoji", account
    ).set(3)
    connections.labels("inbound", "src", "emojivoto", "web", "web-1-a", "", "", "").set(2)
    for outcome in ("success", "failure"):
        responses.labels(**own, classification=outcome, tls="true").inc(0)
    latency.labels(**own).observe(5)
    started = Gauge("process_start_time_seconds", "s", ["namespace", "pod"], registry=registry)
    started.labels("emojivoto", "web-1-a").set(1.0)
    return registry, responses, latency


@contextlib.asynccontextmanager
async def a_prometheus(folder: Path, target: int) -> AsyncIterator[Prometheus]:
    port = free_port()
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "- job_name: proxies\n"
        "  honor_labels: true\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
    )
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with Prometheus(f"http://127.0.0.1:{port}") as prometheus:
            yield prometheus
    finally:
        process.terminate()
        await process.wait()


async def until_seen(prometheus: Prometheus, query: str) -> None:
    """Waits until a query has a positive answer."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(MetricsError):
                if any(sample.value > 0 for sample in await prometheus.query(query)):
                    return
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def an_api(prometheus: Prometheus | None) -> AsyncIterator[grpc.aio.Channel]:
    scope = Scope("linkerd", "cluster.local", frozenset({"kube-system"}))
    async with KubeClient(KubeConfig(server="http://127.0.0.1:1")) as kube:
        api = MetricsApi(emojivoto(), kube, prometheus, scope)
        registry = metrics.registry()
        async with (
            rpc.serve(
                "127.0.0.1",
                0,
                service(api),
                registry=registry,
                grace_s=0,
            ) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            yield channel


async def test_statistics_edges_and_pods_come_from_prometheus(tmp_path: Path) -> None:
    registry, responses, _ = exporter()
    async with (
        admin.serve("127.0.0.1", 0, registry=registry, readiness=Readiness()) as target,
        a_prometheus(tmp_path, target) as prometheus,
        an_api(prometheus) as channel,
    ):
        await until_seen(prometheus, "count_over_time(response_total[1m]) > 1")
        own = ("inbound", "emojivoto", "web", "web-1-a")
        responses.labels(*own, "success", "true").inc(30)
        responses.labels(*own, "failure", "true").inc(10)
        await until_seen(prometheus, "increase(response_total[1m]) > 9")

        web, *rest = [
            row
            for row in await client.stat_summary(channel, Target("deployment", ""), "emojivoto")
            if row.resource.name == "web"
        ]
        assert [] == rest
        assert (2, 2) == (web.meshed_pod_count, web.running_pod_count)
        assert 2 == web.tcp_stats.open_connections
        rate = web.stats.success_count / (web.stats.success_count + web.stats.failure_count)
        assert 0.75 == pytest.approx(rate, abs=0.03)

        (edge,) = await client.edges(channel, "deployment", "emojivoto")
        assert ("web", "emoji", "web.emojivoto", "emoji.emojivoto") == (
            edge.src.name,
            edge.dst.name,
            edge.client_id,
            edge.server_id,
        )

        pods = {pod.name: pod for pod in await client.list_pods(channel, "emojivoto")}
        pod = pods["emojivoto/web-1-a"]
        assert (True, "emojivoto/web", "v2") == (pod.added, pod.deployment, pod.proxyVersion)
        assert not pods["emojivoto/vote-bot-1-a"].added

        with pytest.raises(MetricsError, match="must be at least as long"):
            await client.stat_summary(channel, Target("deployment", ""), window="100ms")
        with pytest.raises(NotFound, match="nothing"):
            await client.stat_summary(channel, Target("deployment", "nothing"), "emojivoto")


async def test_without_prometheus_only_counts_are_answered() -> None:
    async with an_api(None) as channel:
        rows = await client.stat_summary(channel, Target("all", ""), "emojivoto", skip_stats=True)
        assert {"deployment", "pod", "replicaset", "service"} == {r.resource.type for r in rows}
        with pytest.raises(MetricsError, match="no prometheus instance"):
            await client.stat_summary(channel, Target("pod", ""), "emojivoto")
        services = await client.list_services(channel, "emojivoto")
        assert ["web-svc"] == [service.name for service in services]


async def test_self_check_names_what_does_not_answer() -> None:
    async with Prometheus("http://127.0.0.1:1") as nowhere, an_api(nowhere) as channel:
        kubernetes, prometheus = await client.self_check(channel)
        assert ("linkerd viz can talk to Kubernetes", 2) == (
            kubernetes.CheckDescription,
            kubernetes.Status,
        )
        assert ("linkerd viz can talk to Prometheus", 2) == (
            prometheus.CheckDescription,
            prometheus.Status,
        )


async def test_an_answer_that_is_not_prometheus_own_is_told_with_its_reason() -> None:
    """With Prometheus away it is the proxy who answers, in no JSON."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 503 Service Unavailable\r\nl5d-proxy-error: no endpoints\r\n"
        writer.write(head + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Prometheus(f"http://127.0.0.1:{port}") as prometheus:
        with pytest.raises(MetricsError, match="cannot ask prometheus: status 503: no endpoints"):
            await prometheus.query("up")
