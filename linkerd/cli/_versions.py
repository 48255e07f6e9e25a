"""The versions of a running control plane and of its proxies.

Source: linkerd2 cli/cmd/version.go (texts, where the versions are read).
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter

from linkerd.check import cluster
from linkerd.cli import _connect
from linkerd.errors import LinkerdError
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import PODS

_TIMEOUT_S = 5.0


def lines(args: argparse.Namespace) -> list[str]:
    """Returns the lines after the client's version; what cannot be read is `unavailable`."""
    try:
        server, proxies = _connect.run(_connect.config(args), lambda kube: _read(kube, args))
    except (LinkerdError, TimeoutError):
        server, proxies = "unavailable", None
    found = [server if args.short else f"Server version: {server}"]
    if not args.proxy:
        return found
    if proxies is None:
        return [*found, "Proxy versions: unavailable"]
    counted = [f"\t{version} ({count} pods)" for version, count in sorted(proxies.items())]
    return [*found, "Proxy versions:", *counted]


async def _read(kube: KubeClient, args: argparse.Namespace) -> tuple[str, Counter[str] | None]:
    mesh = cluster.Mesh(kube, args.linkerd_namespace)
    async with asyncio.timeout(_TIMEOUT_S):
        server = str((await mesh.config()).get("linkerdVersion") or "unavailable")
        if not args.proxy:
            return server, None
        selector = f"{cluster.CONTROL_PLANE_NS}={args.linkerd_namespace}"
        pods = await kube.list(PODS, args.namespace, label_selector=selector)
    return server, Counter(cluster.proxy_version(pod) for pod in pods)
