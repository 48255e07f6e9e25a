"""The questions of `viz check` that only metrics-api can answer.

Source: linkerd2 viz/pkg/healthcheck/healthcheck.go (behaviour, texts).
"""

from __future__ import annotations

import argparse

from linkerd.check.engine import failed
from linkerd.check.viz import MetricsProbes
from linkerd.cli.viz import _extension
from linkerd.errors import CheckFailed
from linkerd.kube.client import KubeClient


def probes(kube: KubeClient, args: argparse.Namespace) -> MetricsProbes:
    """Returns the probes for `check.viz.categories`."""

    async def self_check() -> None:
        from linkerd.gen import viz_pb2 as pb
        from linkerd.viz import client

        async with _extension.metrics_api(kube, args) as channel:
            for result in await client.self_check(channel):
                if result.Status != pb.CheckStatus.OK:
                    raise CheckFailed(f"{result.SubsystemName}: {result.FriendlyMessageToUser}")

    async def metrics_present() -> None:
        from linkerd.viz import client

        async with _extension.metrics_api(kube, args) as channel:
            pods = await client.list_pods(channel, args.namespace or "")
        missing = [
            pod.name for pod in pods if pod.proxyReady and not pod.added and not pod.controlPlane
        ]
        if missing:
            raise failed("Data plane metrics not found for", missing)

    return MetricsProbes(self_check, metrics_present)
