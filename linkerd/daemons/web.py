"""web: the dashboard's server.

Source: linkerd2 web/main.go (flags, ports).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc.aio
import uvicorn

import linkerd.viz
from linkerd import VERSION, log, metrics, runtime, settings
from linkerd.check import catalog, engine, existence, proxies, versions
from linkerd.check.cluster import Mesh
from linkerd.errors import LinkerdError
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.serve import admin
from linkerd.serve.readiness import Readiness
from linkerd.settings import setting
from linkerd.viz.prometheus import Prometheus
from linkerd.viz.web import app
from linkerd.viz.web.boards import Boards
from linkerd.viz.web.feed import Feeds
from linkerd.viz.web.objects import Answer, Objects
from linkerd.viz.web.pages import Pages
from linkerd.viz.web.passing import Passing
from linkerd.viz.web.taps import Taps

_log = log.logger(__name__)

_STATIC = Path(linkerd.viz.__file__).parent / "static"
_GRACE_S = 2
_MESSAGE_BYTES_MAX = 64 * 1024
# Proxies of the environment are not for addresses inside the cluster.
_CHANNEL = (("grpc.enable_http_proxy", 0),)


@dataclass(frozen=True)
class Settings:
    """Flags of web."""

    addr: tuple[str, int] = setting(
        ("0.0.0.0", 8084), "address of the dashboard", parse=settings.address
    )
    metrics_addr: tuple[str, int] = setting(
        ("0.0.0.0", 9994), "address of the admin server", parse=settings.address
    )
    linkerd_metrics_api_addr: str = setting("127.0.0.1:8085", "address of metrics-api")
    cluster_domain: str = setting("cluster.local", "suffix of service names")
    controller_namespace: str = setting("linkerd", "namespace of the control plane")
    enforced_host: str = setting("", "regular expression for the Host header; empty allows all")
    static_dir: str = setting(str(_STATIC), "folder of the built page")
    grafana_addr: str = setting("", "address of Grafana inside the cluster, shown at /grafana")
    grafana_external_addr: str = setting("", "address of Grafana that browsers reach")
    grafana_prefix: str = setting("", "what the uids of Grafana's dashboards begin with")
    jaeger_addr: str = setting("", "accepted for compatibility, does nothing")
    template_dir: str = setting("", "accepted for compatibility, does nothing")
    reload: bool = setting(True, "accepted for compatibility, does nothing")
    prometheus_url: str = setting("", "address of Prometheus, for graphs and plots")
    kubeconfig: str = setting("", "path of a kubeconfig; empty means in the cluster")
    enable_pprof: bool = setting(False, "accepted for compatibility, does nothing")
    trace_collector: str = setting("", "accepted for compatibility, does nothing")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "format of log lines", choices=log.FORMATS)


class _Server(uvicorn.Server):
    """Leaves signals to `runtime`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures nothing."""
        yield


def main(argv: Sequence[str]) -> int:
    """Runs until a signal; returns the exit status."""
    if "--help" in argv or "-help" in argv:
        print(settings.usage(Settings, "web"))
        return 0
    chosen = settings.parse(Settings, argv)
    log.configure(chosen.log_level, chosen.log_format)
    # It would log every query.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    return runtime.run(lambda stop: _serve(chosen, stop))


async def _serve(chosen: Settings, stop: asyncio.Event) -> None:
    registry = metrics.registry()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(
            admin.serve(*chosen.metrics_addr, registry=registry, readiness=Readiness())
        )
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(chosen.linkerd_metrics_api_addr, options=_CHANNEL)
        )
        prometheus = None
        if chosen.prometheus_url:
            prometheus = await stack.enter_async_context(Prometheus(chosen.prometheus_url))
        kube = await _kube(chosen.kubeconfig, stack)
        own_ns = kube.config.namespace if kube is not None else ""
        pages = Pages(channel, prometheus, chosen.controller_namespace, own_ns)
        feeds = Feeds(pages.poll)
        passing = None
        if chosen.grafana_addr and not chosen.grafana_external_addr:
            passing = await stack.enter_async_context(Passing(chosen.grafana_addr))
        checks = partial(_checks, kube, chosen.controller_namespace) if kube else None
        parts = app.Parts(
            channel,
            feeds,
            pages,
            Objects(kube, checks, chosen.cluster_domain),
            Taps(kube),
            Boards(prometheus),
            passing,
            _facts(chosen),
        )
        host, port = chosen.addr
        server = _Server(
            uvicorn.Config(
                app.create(parts, Path(chosen.static_dir), chosen.enforced_host),
                host=host,
                port=port,
                http="h11",
                ws_max_size=_MESSAGE_BYTES_MAX,
                ws="wsproto",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
                limit_concurrency=1024,
            )
        )
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve())
            stopped = group.create_task(stop.wait())
            await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            await feeds.close()
            stopped.cancel()


def _facts(chosen: Settings) -> dict[str, str]:
    """What the page is told, under Linkerd's names."""
    return {
        "controller-namespace": chosen.controller_namespace,
        "grafana": chosen.grafana_addr,
        "grafana-external-url": chosen.grafana_external_addr,
        "grafana-prefix": chosen.grafana_prefix,
    }


async def _checks(kube: KubeClient, namespace: str) -> list[Answer]:
    """Runs the checks that need no secret: the dashboard may read none."""
    mesh = Mesh(kube, namespace, version=VERSION)
    categories = [
        *catalog.connection(mesh),
        existence.control_plane(mesh),
        existence.config(mesh),
        versions.control_plane(mesh),
        proxies.control_plane(mesh),
        proxies.data_plane(mesh),
    ]
    clock = engine.Clock(time.monotonic, asyncio.sleep)
    answers = []
    async for result in engine.run(categories, wait_s=0, clock=clock, on_wait=lambda _: None):
        failed = result.outcome is not engine.Outcome.SUCCESS
        answers.append(
            Answer(
                result.category,
                result.question,
                (result.text or "failed") if failed else "",
                result.hint,
                result.outcome is engine.Outcome.WARNING,
            )
        )
    return answers


async def _kube(path: str, stack: contextlib.AsyncExitStack) -> KubeClient | None:
    """A client of the cluster; None where there is none, and so no tap."""
    try:
        config = load(path or None)
    except LinkerdError as error:
        _log.warn("no cluster: tap is off", error=error.message)
        return None
    return await stack.enter_async_context(KubeClient(config))
