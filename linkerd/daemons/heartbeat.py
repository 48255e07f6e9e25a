"""The heartbeat: one report of versions and load, to an address that the user configured.

Without `-url` it sends nothing, asks nothing and says so. Runs once, as a CronJob.
Source: linkerd2 controller/heartbeat/heartbeat.go (names of the parameters, queries).
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from linkerd import VERSION, log, runtime
from linkerd.errors import KubeError, LinkerdError
from linkerd.kube.client import KubeClient
from linkerd.kube.config import load
from linkerd.kube.resources import CONFIG_MAPS, NAMESPACES, SERVICE_PROFILES
from linkerd.settings import parse, setting

_TIMEOUT_S = 10.0
_EXTENSION = "linkerd.io/extension"
_QUERIES = {
    "total-rps": 'sum(rate(request_total{direction="inbound"}[1m]))',
    "meshed-pods": "count(count by (pod) (request_total))",
    "p99-handle-us": (
        "histogram_quantile(0.99, sum(rate(request_handle_us_bucket"
        '{direction="inbound"}[24h])) by (le))'
    ),
    "proxy-injector-injections": 'sum(proxy_inject_admission_responses_total{skip="false"})',
}

_log = log.logger(__name__)


@dataclass(frozen=True)
class Settings:
    """Flags of the heartbeat."""

    controller_namespace: str = setting("linkerd", "namespace of the control plane")
    kubeconfig: str = setting("", "path to a kubeconfig; empty: the pod's service account")
    prometheus_url: str = setting("", "address of Prometheus; empty leaves its figures out")
    url: str = setting("", "where the report goes; empty sends nothing")
    log_level: str = setting("info", "least severe level that is logged", choices=log.LEVELS)
    log_format: str = setting("plain", "form of log lines", choices=log.FORMATS)


async def report(kube: KubeClient, namespace: str) -> dict[str, str]:
    """Returns the parameters that the cluster knows; what it refuses is left out."""
    found = {"version": VERSION, "source": "heartbeat", "arch": platform.machine()}
    for part in (_install(kube, namespace), _kubernetes(kube), _extensions(kube), _profiles(kube)):
        try:
            found |= await part
        except KubeError as error:
            _log.warn("report is incomplete", error=error.message)
    return found


async def _install(kube: KubeClient, namespace: str) -> dict[str, str]:
    metadata = (await kube.get(CONFIG_MAPS, "linkerd-config", namespace))["metadata"]
    return {
        "uuid": str(metadata.get("uid", "")),
        "install-time": str(metadata.get("creationTimestamp", "")),
    }


async def _kubernetes(kube: KubeClient) -> dict[str, str]:
    return {"k8s-version": str((await kube.request("GET", "/version")).get("gitVersion", ""))}


async def _extensions(kube: KubeClient) -> dict[str, str]:
    labels = [one["metadata"].get("labels") or {} for one in await kube.list(NAMESPACES)]
    return {f"ext-{one[_EXTENSION]}": "1" for one in labels if _EXTENSION in one}


async def _profiles(kube: KubeClient) -> dict[str, str]:
    return {"service-profile-count": str(len(await kube.list(SERVICE_PROFILES)))}


async def figures(http: httpx2.AsyncClient, prometheus: str) -> dict[str, str]:
    """Returns the parameters that Prometheus knows; those without data are left out."""
    found = {}
    for name, query in _QUERIES.items():
        try:
            answer = await http.get(f"{prometheus}/api/v1/query", params={"query": query})
            result: list[Any] = answer.json()["data"]["result"]
            found[name] = str(round(float(result[0]["value"][1])))
        except (httpx2.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            _log.debug("no figure", name=name, error=repr(error))
    return found


async def send(settings: Settings) -> None:
    """Sends one report.

    Raises:
        LinkerdError: the cluster is not known.
        httpx2.HTTPError: the report did not arrive.
    """
    async with (
        KubeClient(load(settings.kubeconfig)) as kube,
        httpx2.AsyncClient(timeout=_TIMEOUT_S) as http,
    ):
        parameters = await report(kube, settings.controller_namespace)
        if settings.prometheus_url:
            parameters |= await figures(http, settings.prometheus_url.rstrip("/"))
        answer = await http.get(settings.url, params=parameters)
        answer.raise_for_status()
        _log.info("heartbeat sent", parameters=len(parameters))


def main(argv: Sequence[str]) -> int:
    """Runs `linkerd heartbeat`; returns the exit status."""
    try:
        settings = parse(Settings, argv)
    except LinkerdError as error:
        log.configure()
        _log.error("wrong flags", error=error.message)
        return error.exit_code
    log.configure(settings.log_level, settings.log_format)
    if not settings.url:
        _log.info("heartbeat has no address and sends nothing")
        return 0

    async def once(_stop: asyncio.Event) -> None:
        await send(settings)

    return runtime.run(once)
