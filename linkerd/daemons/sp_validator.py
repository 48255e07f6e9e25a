"""The ServiceProfile validator: refuses profiles that proxies could not use.

HTTPS 8443 (AdmissionReview), admin 9997.
Source: linkerd2 controller/cmd/sp-validator/main.go, controller/sp-validator (flags, behaviour).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linkerd import log, metrics, runtime
from linkerd.errors import LinkerdError
from linkerd.kube import admission
from linkerd.model import profile_rules
from linkerd.serve import admin
from linkerd.serve.readiness import Readiness
from linkerd.settings import address, parse, setting

_log = log.logger(__name__)


@dataclass(frozen=True)
class Settings:
    """Flags of the ServiceProfile validator."""

    addr: tuple[str, int] = setting(("0.0.0.0", 8443), "address of the webhook", parse=address)
    metrics_addr: tuple[str, int] = setting(("0.0.0.0", 9997), "address of admin", parse=address)
    kubeconfig: str = setting("", "accepted for compatibility; the validator asks no API server")
    tls_dir: str = setting("/var/run/linkerd/tls", "folder of tls.crt and tls.key")
    enable_pprof: bool = setting(False, "accepted for compatibility; has no effect")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "form of log lines", choices=log.FORMATS)


async def decide(request: dict[str, Any]) -> admission.Response:
    """Returns the verdict on a ServiceProfile that is created or changed."""
    problem = profile_rules.problem(request.get("object") or {})
    if problem is None:
        return admission.Response()
    _log.info("profile refused", namespace=request.get("namespace"), problem=problem)
    return admission.Response(allowed=False, message=problem)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Runs the validator until `stop`.

    Raises:
        OSError: the webhook's certificate or an address cannot be used.
    """
    ready = Readiness("webhook")
    async with (
        admin.serve(*settings.metrics_addr, registry=metrics.registry(), readiness=ready),
        admission.serve(
            decide,
            *settings.addr,
            cert=f"{settings.tls_dir}/tls.crt",
            key=f"{settings.tls_dir}/tls.key",
            minimum=ssl.TLSVersion.TLSv1_3,
        ) as port,
    ):
        _log.info("sp-validator started", port=port)
        ready.done("webhook")
        await stop.wait()


def main(argv: Sequence[str]) -> int:
    """Runs `linkerd sp-validator`; returns the exit status."""
    try:
        settings = parse(Settings, argv)
    except LinkerdError as error:
        log.configure()
        _log.error("wrong flags", error=error.message)
        return error.exit_code
    log.configure(settings.log_level, settings.log_format)
    return runtime.run(lambda stop: serve(settings, stop))
