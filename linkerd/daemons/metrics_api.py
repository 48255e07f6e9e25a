"""metrics-api: what the mesh measures, per resource, over gRPC.

Source: linkerd2 viz/metrics-api/cmd/main.go (flags, ports).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message_factory import GetMessageClass

from linkerd import log, metrics, runtime, settings
from linkerd.errors import SettingsError
from linkerd.gen import viz_pb2
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import Resource
from linkerd.kube.watch import Applied, Reset
from linkerd.serve import admin, rpc
from linkerd.serve.readiness import Readiness
from linkerd.settings import setting
from linkerd.viz.api import MetricsApi, Scope, watched_resources
from linkerd.viz.cluster import Cluster
from linkerd.viz.objects import Pod, Service, Workload
from linkerd.viz.prometheus import Prometheus


@dataclass(frozen=True)
class Settings:
    """Flags of metrics-api."""

    addr: tuple[str, int] = setting(
        ("0.0.0.0", 8085), "address of the gRPC server", parse=settings.address
    )
    metrics_addr: tuple[str, int] = setting(
        ("0.0.0.0", 9995), "address of the admin server", parse=settings.address
    )
    prometheus_url: str = setting("", "address of Prometheus; empty answers without metrics")
    prometheus_user_file: str = setting("", "file with the user for Prometheus")
    prometheus_password_file: str = setting("", "file with the password for Prometheus")
    controller_namespace: str = setting("linkerd", "namespace of the control plane")
    ignore_namespaces: str = setting("kube-system", "namespaces whose pods are not listed")
    cluster_domain: str = setting("cluster.local", "suffix of service names")
    kubeconfig: str = setting("", "path of a kubeconfig; empty means in the cluster")
    enable_pprof: bool = setting(False, "accepted for compatibility, does nothing")
    trace_collector: str = setting("", "accepted for compatibility, does nothing")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "format of log lines", choices=log.FORMATS)


def main(argv: Sequence[str]) -> int:
    """Runs until a signal; returns the exit status."""
    if "--help" in argv or "-help" in argv:
        print(settings.usage(Settings, "metrics-api"))
        return 0
    chosen = settings.parse(Settings, argv)
    log.configure(chosen.log_level, chosen.log_format)
    # It would log every query.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    return runtime.run(lambda stop: _serve(chosen, stop))


async def _serve(chosen: Settings, stop: asyncio.Event) -> None:
    registry = metrics.registry()
    watched = watched_resources()
    readiness = Readiness(*watched)
    cluster = Cluster()
    scope = Scope(
        control_plane_ns=chosen.controller_namespace,
        cluster_domain=chosen.cluster_domain,
        ignored_namespaces=frozenset(filter(None, chosen.ignore_namespaces.split(","))),
    )
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(
            admin.serve(*chosen.metrics_addr, registry=registry, readiness=readiness)
        )
        kube = await stack.enter_async_context(KubeClient(load(chosen.kubeconfig or None)))
        prometheus = None
        if chosen.prometheus_url:
            prometheus = await stack.enter_async_context(
                Prometheus(
                    chosen.prometheus_url,
                    _content(chosen.prometheus_user_file),
                    _content(chosen.prometheus_password_file),
                )
            )
        api = MetricsApi(cluster, kube, prometheus, scope)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_follow(kube, kind, resource, cluster, readiness))
                for kind, resource in watched.items()
            ]
            await _until(readiness, stop)
            if not stop.is_set():
                await stack.enter_async_context(
                    rpc.serve(*chosen.addr, service(api), registry=registry)
                )
                await stop.wait()
            for task in tasks:
                task.cancel()


def service(api: MetricsApi) -> rpc.Service:
    """Returns the methods of `linkerd2.viz.Api` that `api` answers."""
    described = viz_pb2.DESCRIPTOR.services_by_name["Api"]

    def method(name: str, request: type[Any]) -> rpc.Method:
        answer = getattr(api, name)

        async def handle(message: Any) -> bytes:
            encoded: bytes = (await answer(message)).SerializeToString()
            return encoded

        return rpc.unary(request, handle)

    return rpc.service(
        described.full_name,
        {
            each.name: method(each.name, GetMessageClass(each.input_type))
            for each in described.methods
            if hasattr(api, each.name)
        },
    )


async def _until(readiness: Readiness, stop: asyncio.Event) -> None:
    """Returns when ready or told to stop."""
    async with asyncio.TaskGroup() as group:
        ready = group.create_task(readiness.wait())
        stopped = group.create_task(stop.wait())
        await asyncio.wait((ready, stopped), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        stopped.cancel()


async def _follow(
    kube: KubeClient, kind: str, resource: Resource, cluster: Cluster, readiness: Readiness
) -> None:
    """Keeps the objects of one kind current."""
    decode = {"pod": Pod, "service": Service}.get(kind, Workload)
    async for event in kube.watch(resource, decode=decode):
        if isinstance(event, Reset):
            cluster.reset(kind, event.objects)
            readiness.done(kind)
        elif isinstance(event, Applied):
            cluster.apply(kind, event.object)
        else:
            cluster.delete(kind, event.object)


def _content(path: str) -> str:
    """The text in a file of a secret; empty without a path."""
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error}") from None
