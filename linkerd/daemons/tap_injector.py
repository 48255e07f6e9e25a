"""The tap injector: tells the proxies of new pods who may tap them.

HTTPS 8443 (AdmissionReview), admin 9995. It never keeps a pod from starting.
Source: linkerd2 viz/tap/injector/main.go (flags, ports).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linkerd import log, metrics, runtime, settings
from linkerd.errors import KubeError, LinkerdError, SettingsError
from linkerd.kube import admission
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import NAMESPACES
from linkerd.serve import admin
from linkerd.serve.readiness import Readiness
from linkerd.settings import setting
from linkerd.viz.tap import inject

_log = log.logger(__name__)


@dataclass(frozen=True)
class Settings:
    """Flags of the tap injector."""

    addr: tuple[str, int] = setting(
        ("0.0.0.0", 8443), "address of the webhook", parse=settings.address
    )
    metrics_addr: tuple[str, int] = setting(
        ("0.0.0.0", 9995), "address of the admin server", parse=settings.address
    )
    tap_service_name: str = setting("", "identity of the tap API")
    tls_dir: str = setting("/var/run/linkerd/tls", "folder of tls.crt and tls.key")
    kubeconfig: str = setting("", "path of a kubeconfig; empty means in the cluster")
    enable_pprof: bool = setting(False, "accepted for compatibility, does nothing")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "format of log lines", choices=log.FORMATS)


def main(argv: Sequence[str]) -> int:
    """Runs until a signal; returns the exit status."""
    try:
        chosen = settings.parse(Settings, argv)
        if not chosen.tap_service_name:
            raise SettingsError("-tap-service-name is missing")
    except LinkerdError as error:
        log.configure()
        _log.error("wrong flags", error=error.message)
        return error.exit_code
    log.configure(chosen.log_level, chosen.log_format)
    return runtime.run(lambda stop: serve(chosen, stop))


class Webhook:
    """Decides on pods; a namespace that cannot be read counts as one without annotations."""

    def __init__(self, kube: KubeClient, identity: str) -> None:
        self._kube = kube
        self._identity = identity

    async def decide(self, request: dict[str, Any]) -> admission.Response:
        """Returns the patch for a pod."""
        pod = request.get("object") or {}
        if inject.patch(pod, {}, self._identity) == []:
            return admission.Response()
        namespace = str(request.get("namespace") or "")
        annotations = await self._annotations(namespace)
        operations = inject.patch(pod, annotations, self._identity)
        _log.debug("pod reviewed", namespace=namespace, enabled=bool(operations))
        return admission.Response(patch=operations)

    async def _annotations(self, namespace: str) -> Mapping[str, str]:
        try:
            body = await self._kube.get(NAMESPACES, namespace)
        except KubeError as error:
            _log.warn("namespace not read", namespace=namespace, error=error.message)
            return {}
        return body["metadata"].get("annotations") or {}


async def serve(chosen: Settings, stop: asyncio.Event) -> None:
    """Runs the injector until `stop`.

    Raises:
        OSError: the webhook's certificate or an address cannot be used.
    """
    ready = Readiness("webhook")
    async with (
        admin.serve(*chosen.metrics_addr, registry=metrics.registry(), readiness=ready),
        KubeClient(load(chosen.kubeconfig or None)) as kube,
        admission.serve(
            Webhook(kube, chosen.tap_service_name).decide,
            *chosen.addr,
            cert=f"{chosen.tls_dir}/tls.crt",
            key=f"{chosen.tls_dir}/tls.key",
            minimum=ssl.TLSVersion.TLSv1_3,
        ) as port,
    ):
        _log.info("tap injector started", port=port)
        ready.done("webhook")
        await stop.wait()
