"""Fetch metrics directly from the Linkerd control plane containers.

Example:
  linkerd diagnostics controller-metrics
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import CheckFailed, LinkerdError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Fetch metrics directly from Linkerd control plane containers"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "-w", "--wait", type=_args.duration, default=30.0, metavar="TIME",
        help="how long to wait for all answers (default 30s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Prints each container's metrics under a heading; errors stand in their place."""
    from linkerd.cli import _connect

    return _connect.run(_connect.config(args), lambda kube: _show(kube, args))


async def _show(kube: KubeClient, args: argparse.Namespace) -> int:
    from linkerd.check import cluster

    pods = [
        pod
        for pod in await cluster.Mesh(kube, args.linkerd_namespace).control_plane_pods()
        if cluster.phase(pod) == "Running"
    ]
    if not pods:
        raise CheckFailed(
            f"no running control plane pods in namespace {args.linkerd_namespace}",
            hint="Validate the install with: `linkerd check`",
        )
    asked = [
        (number, pod, name, port)
        for number, pod in enumerate(pods, 1)
        for name, port in admin_ports(pod)
    ]
    answers = await asyncio.gather(*(_ask(kube, pod, port, args.wait) for _, pod, _, port in asked))
    for (number, pod, name, _), answer in zip(asked, answers, strict=True):
        print(f"#\n# POD {pod['metadata']['name']} ({number} of {len(pods)})")
        print(f"# CONTAINER {name}\n#")
        print(answer, end="" if answer.endswith("\n") else "\n")
    return 0


async def _ask(kube: KubeClient, pod: dict[str, Any], port: int, wait_s: float) -> str:
    from linkerd.cli import _workloads

    try:
        async with asyncio.timeout(wait_s):
            return await _workloads.page(kube, pod, port, "/metrics")
    except TimeoutError:
        return f"# ERROR: no answer within {wait_s:g} s"
    except LinkerdError as error:
        return f"# ERROR: {error.message}"


def admin_ports(pod: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yields the name of each container with an admin port, and the port."""
    from linkerd.check import cluster

    for container in cluster.containers(pod):
        for port in container.get("ports") or ():
            if "admin" in port.get("name", ""):
                yield container["name"], int(port["containerPort"])
