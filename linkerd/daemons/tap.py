"""tap: the aggregated API that streams what passes the proxies; `tap injector` is its webhook.

HTTPS 8089 (API), 8088 (open for compatibility, answers nothing), admin 9998.
Source: linkerd2 viz/tap/cmd/main.go, viz/tap/api/main.go (flags, ports, files).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linkerd import log, metrics, runtime, settings
from linkerd.errors import LinkerdError, NotFound, SettingsError
from linkerd.kube import resources, server
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.watch import Applied, Reset
from linkerd.runtime import spawn
from linkerd.serve import admin
from linkerd.serve.readiness import Readiness
from linkerd.settings import setting
from linkerd.viz.cluster import Cluster
from linkerd.viz.objects import Node, Pod, Workload
from linkerd.viz.tap import authn
from linkerd.viz.tap.request import TAPPABLE
from linkerd.viz.tap.server import Scope, TapServer

_log = log.logger(__name__)


@dataclass(frozen=True)
class Settings:
    """Flags of the tap API."""

    apiserver_addr: tuple[str, int] = setting(
        ("0.0.0.0", 8089), "address of the API", parse=settings.address
    )
    addr: str = setting("", "accepted for compatibility; tap has no plain gRPC server")
    metrics_addr: tuple[str, int] = setting(
        ("0.0.0.0", 9998), "address of the admin server", parse=settings.address
    )
    api_namespace: str = setting("linkerd", "namespace of the control plane")
    tap_port: int = setting(4190, "port of the proxies' tap server")
    identity_trust_domain: str = setting("cluster.local", "trust domain of identities")
    ignore_headers: str = setting("", "names of headers that are never shown, by commas")
    disable_common_names: bool = setting(
        False, "accept every client certificate of the front proxy's authority"
    )
    tls_dir: str = setting("/var/run/linkerd/tls", "folder of tls.crt and tls.key")
    kubeconfig: str = setting("", "path of a kubeconfig; empty means in the cluster")
    enable_pprof: bool = setting(False, "accepted for compatibility, does nothing")
    trace_collector: str = setting("", "accepted for compatibility, does nothing")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "format of log lines", choices=log.FORMATS)


def main(argv: Sequence[str]) -> int:
    """Runs `api`, or `injector` if the first word says so; returns the exit status."""
    words = list(argv)
    command = words.pop(0) if words and not words[0].startswith("-") else "api"
    if command == "injector":
        from linkerd.daemons import tap_injector

        return tap_injector.main(words)
    if "--help" in words or "-help" in words:
        print(settings.usage(Settings, "tap api"))
        return 0
    try:
        if command != "api":
            raise SettingsError(f"unknown command {command!r}", hint="use api or injector")
        chosen = settings.parse(Settings, words)
    except LinkerdError as error:
        log.configure()
        _log.error("wrong flags", error=error.message)
        return error.exit_code
    log.configure(chosen.log_level, chosen.log_format)
    return runtime.run(lambda stop: serve(chosen, stop))


async def serve(chosen: Settings, stop: asyncio.Event) -> None:
    """Runs the API until `stop`.

    Raises:
        SettingsError: the cluster has no aggregation layer.
        OSError: the certificate or an address cannot be used.
    """
    registry = metrics.registry()
    kinds = [*TAPPABLE, "node"]
    readiness = Readiness(*kinds, "api")
    cluster = Cluster()
    tasks: set[asyncio.Task[Any]] = set()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(
            admin.serve(*chosen.metrics_addr, registry=registry, readiness=readiness)
        )
        kube = await stack.enter_async_context(KubeClient(load(chosen.kubeconfig or None)))
        front_proxy = await _front_proxy(kube, chosen.disable_common_names)
        by_kind = {resource.kind.lower(): resource for resource in resources.ALL}
        stack.callback(lambda: [task.cancel() for task in tasks])
        for kind in kinds:
            spawn(_follow(kube, kind, by_kind[kind], cluster, readiness), name=kind, into=tasks)
        api = TapServer(
            cluster,
            kube,
            front_proxy,
            Scope(
                control_plane_ns=chosen.api_namespace,
                trust_domain=chosen.identity_trust_domain or "cluster.local",
                tap_port=chosen.tap_port,
                ignored_headers=frozenset(
                    name.strip().lower() for name in chosen.ignore_headers.split(",") if name
                ),
            ),
            registry,
        )
        certificate = server.CertificateFiles(
            f"{chosen.tls_dir}/tls.crt",
            f"{chosen.tls_dir}/tls.key",
            minimum=ssl.TLSVersion.TLSv1_3,
        )
        certificate.context.verify_mode = ssl.CERT_OPTIONAL
        certificate.context.load_verify_locations(cadata=front_proxy.ca_pem)
        spawn(certificate.follow(), name="certificate", into=tasks)
        port = await stack.enter_async_context(
            server.serve(api.handle, *chosen.apiserver_addr, tls=certificate.context)
        )
        _log.info("tap started", port=port)
        readiness.done("api")
        await stop.wait()


async def _front_proxy(kube: KubeClient, any_name: bool) -> authn.FrontProxy:
    try:
        body = await kube.get(resources.CONFIG_MAPS, authn.CONFIG_MAP, authn.CONFIG_NAMESPACE)
    except NotFound as error:
        raise SettingsError(
            error.message, hint="the API server runs without the aggregation layer"
        ) from None
    data = dict(body.get("data") or {})
    if any_name:
        data["requestheader-allowed-names"] = "[]"
    return authn.from_config(data)


async def _follow(
    kube: KubeClient,
    kind: str,
    resource: resources.Resource,
    cluster: Cluster,
    readiness: Readiness,
) -> None:
    """Keeps the objects of one kind current."""
    decode = {"pod": Pod, "node": Node}.get(kind, Workload)
    async for event in kube.watch(resource, decode=decode):
        if isinstance(event, Reset):
            cluster.reset(kind, event.objects)
            readiness.done(kind)
        elif isinstance(event, Applied):
            cluster.apply(kind, event.object)
        else:
            cluster.delete(kind, event.object)
