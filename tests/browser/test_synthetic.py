"""Pages over made-up data: a mesh of 200 workloads, names that are markup, many browsers.

The server, metrics-api and Prometheus are real; what they know is made up. Needs no cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc.aio
import httpx2
import pytest
import uvicorn
from playwright.async_api import Browser, expect
from prometheus_client import CollectorRegistry, Counter, Histogram

import linkerd.viz
from linkerd import metrics
from linkerd.daemons.metrics_api import service
from linkerd.kube.client import KubeClient
from linkerd.kube.config import KubeConfig
from linkerd.serve import admin, rpc
from linkerd.serve.readiness import Readiness
from linkerd.viz.api import MetricsApi, Scope
from linkerd.viz.cluster import Cluster
from linkerd.viz.prometheus import Prometheus
from linkerd.viz.web import app
from linkerd.viz.web.boards import Boards
from linkerd.viz.web.feed import POLL_S, Feeds
from linkerd.viz.web.pages import Pages
from linkerd.viz.web.views import View
from tests.browser.chrome import opened, until
from tests.unit.viz.builders import a_pod, a_workload
from tests.wire.test_metrics_api import a_prometheus, until_seen

STATIC = Path(linkerd.viz.__file__).parent / "static"
WORKLOADS = [f"workload-{place:03}" for place in range(200)]
EVIL = ["<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "{{7*7}} ' & &lt;b&gt;"]
PAGE_BYTES_MAX = 120_000
SCRIPT_S_MAX = 1.0

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus"),
]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


def a_mesh(names: Iterable[str]) -> tuple[Cluster, CollectorRegistry, list[Counter]]:
    """A namespace `shop` with a deployment of one meshed pod per name; each calls the next."""
    cluster, all_names = Cluster(), list(names)
    cluster.reset("namespace", [a_workload("shop", namespace="")])
    cluster.reset("deployment", [a_workload(name, namespace="shop") for name in all_names])
    sets = [a_workload(f"{n}-1", namespace="shop", owned_by=("Deployment", n)) for n in all_names]
    cluster.reset("replicaset", sets)
    pods = [
        a_pod(f"{n}-1-a", namespace="shop", owned_by=("ReplicaSet", f"{n}-1")) for n in all_names
    ]
    cluster.reset("pod", pods)
    registry = CollectorRegistry()
    own = ["direction", "namespace", "deployment", "pod", "dst_namespace", "dst_deployment", "tls"]
    responses = Counter("response", "r", [*own, "classification"], registry=registry)
    latency = Histogram("response_latency_ms", "l", own, buckets=(1, 10, 100), registry=registry)
    counters = []
    for name, after in zip(all_names, all_names[1:] + all_names[:1], strict=True):
        for labels in (
            ("inbound", "shop", name, f"{name}-1-a", "", "", "true"),
            ("outbound", "shop", name, f"{name}-1-a", "shop", after, "true"),
        ):
            counters.append(responses.labels(*labels, "success"))
            latency.labels(*labels).observe(5)
    return cluster, registry, counters


@contextlib.asynccontextmanager
async def a_dashboard(folder: Path, names: Iterable[str]) -> AsyncIterator[tuple[str, list[View]]]:
    """A served dashboard over a made-up mesh that answers requests; yields address and polls."""
    cluster, registry, counters = a_mesh(names)
    scope = Scope("linkerd", "cluster.local", frozenset())
    async with contextlib.AsyncExitStack() as stack:
        target = await stack.enter_async_context(
            admin.serve("127.0.0.1", 0, registry=registry, readiness=Readiness())
        )
        prometheus = await stack.enter_async_context(a_prometheus(folder, target))
        await until_seen(prometheus, "count_over_time(response_total[1m]) > 1")
        for counter in counters:
            counter.inc(30)
        await until_seen(prometheus, "increase(response_total[1m]) > 9")
        kube = await stack.enter_async_context(KubeClient(KubeConfig(server="http://127.0.0.1:1")))
        api = MetricsApi(cluster, kube, prometheus, scope)
        port = await stack.enter_async_context(
            rpc.serve("127.0.0.1", 0, service(api), registry=metrics.registry(), grace_s=0)
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        yield await stack.enter_async_context(_served(channel, prometheus))


@contextlib.asynccontextmanager
async def _served(
    channel: grpc.aio.Channel, prometheus: Prometheus
) -> AsyncIterator[tuple[str, list[View]]]:
    pages = Pages(channel, prometheus)
    polled: list[View] = []

    async def poll(view: View) -> dict[str, Any]:
        polled.append(view)
        return await pages.poll(view)

    feeds = Feeds(poll)
    application = app.create(
        app.Parts(channel, feeds, pages, boards=Boards(prometheus)), STATIC, ""
    )
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application, log_config=None, lifespan="off")
    config.timeout_graceful_shutdown = 1
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[sock]))
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}", polled
        finally:
            server.should_exit = True
            await feeds.close()
            await serving


async def test_two_hundred_workloads_are_usable_within_a_second(
    browser: Browser, tmp_path: Path
) -> None:
    """Counts the processor time of the page, which other load on the machine does not change."""
    async with a_dashboard(tmp_path, WORKLOADS) as (address, _):
        tab = await opened(browser, address)
        session = await tab.page.context.new_cdp_session(tab.page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        began = time.monotonic()
        await tab.go("/namespaces/shop/deployments")
        rows = tab.table("HTTP metrics of deployments").locator("tbody tr")
        await expect(rows).to_have_count(len(WORKLOADS))
        first_s = time.monotonic() - began
        found = (await session.send("Performance.getMetrics"))["metrics"]
        spent = {metric["name"]: metric["value"] for metric in found}
        worked = spent["ScriptDuration"] + spent["LayoutDuration"] + spent["RecalcStyleDuration"]
        print(f"all rows after {first_s:.2f} s, {worked:.2f} s of them the page's own work")
        assert worked < SCRIPT_S_MAX
        await tab.page.get_by_label("Filter deployments by name").fill("workload-199")
        await expect(rows).to_have_count(1)
        await tab.go("/graph?namespace=shop")
        await expect(tab.page.locator(".graph .node")).to_have_count(len(WORKLOADS))
        await tab.close()


async def test_names_that_are_markup_stay_text(browser: Browser, tmp_path: Path) -> None:
    async with a_dashboard(tmp_path, [*EVIL, "web"]) as (address, _):
        tab = await opened(browser, address)
        for path in ("/namespaces/shop/deployments", "/namespaces/shop", "/graph"):
            await tab.go(path)
            for name in EVIL:
                shown = tab.page.locator("main a, main .name").filter(has_text=name[:18])
                await shown.locator("visible=true").first.wait_for()
            assert 0 == await tab.page.locator("main script, main img, main b b").count()
        await tab.go("/grafana/d/linkerd-top-line?range=5m")
        await tab.page.locator(".keys").filter(has_text=EVIL[0]).first.wait_for()
        assert 0 == await tab.page.locator("main script, main img").count()
        await tab.close()


async def test_twenty_browsers_cost_what_one_does(tmp_path: Path) -> None:
    async with (
        a_dashboard(tmp_path, WORKLOADS[:5]) as (address, polled),
        httpx2.AsyncClient(base_url=address, trust_env=False, timeout=60) as http,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(20):
            query = {"kind": "deployment", "namespace": "shop"}
            asked = http.stream("GET", "/api/stream", params=query)
            stream = await stack.enter_async_context(asked)
            lines = stream.aiter_lines()
            while "workload-000" not in await anext(lines):
                pass
        began, before = time.monotonic(), len(polled)

        async def waiting() -> str:
            return "no poll" if len(polled) < before + 2 else ""

        await until(waiting)
        # Two polls take their time, however many browsers wait for them.
        assert time.monotonic() - began >= POLL_S


async def test_the_whole_page_is_small() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert files, "the page is not built"
    packed = sum(len(gzip.compress(path.read_bytes(), mtime=0)) for path in files)
    assert packed <= PAGE_BYTES_MAX, f"{packed} bytes"
