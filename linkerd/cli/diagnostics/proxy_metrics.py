"""Fetch metrics directly from Linkerd proxies.

Examples:
  linkerd diagnostics proxy-metrics -n emojivoto deploy/web
"""

from __future__ import annotations

import argparse
import hashlib
import re
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import LinkerdError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Fetch metrics directly from Linkerd proxies"
USAGE = "(RESOURCE)"
_PRIVATE = re.compile(
    r'\b(authority|client_id|server_id|target_addr|dst_service|dst_namespace)="([^"]*)"'
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("resource", metavar="RESOURCE", help="TYPE/NAME, for instance deploy/web")
    parser.add_argument("--obfuscate", action="store_true", help="hide names and addresses")
    _args.add_namespace(parser, "namespace of the resource")


def run(args: argparse.Namespace) -> int:
    """Prints each proxy's metrics under a heading; errors stand in their place."""
    from linkerd.cli import _connect

    config = _connect.config(args)
    namespace = args.namespace or config.namespace
    return _connect.run(config, lambda kube: _show(kube, args, namespace))


async def _show(kube: KubeClient, args: argparse.Namespace, namespace: str) -> int:
    from linkerd.check import cluster
    from linkerd.cli import _workloads

    pods = await _workloads.running_pods(kube, args.resource, namespace)
    for number, pod in enumerate(pods, 1):
        name = pod["metadata"]["name"]
        print(f"#\n# POD {name} ({number} of {len(pods)})")
        print(f"# CONTAINER {cluster.PROXY}\n#")
        try:
            text = await _workloads.admin_page(kube, pod, "/metrics")
        except LinkerdError as error:
            print(f"# ERROR: {error.message}")
            continue
        print(obfuscated(text) if args.obfuscate else text, end="")
    return 0


def obfuscated(text: str) -> str:
    """Returns metrics with names and addresses replaced by the first bytes of their hash."""

    def hide(match: re.Match[str]) -> str:
        digest = hashlib.sha256(match[2].encode()).hexdigest()[:8]
        return f'{match[1]}="{digest}"'

    return _PRIVATE.sub(hide, text)
