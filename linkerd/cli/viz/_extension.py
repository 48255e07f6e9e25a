"""Where the viz extension is, and a way into its pods.

Source: linkerd2 viz/pkg/api (namespace by label, port-forward to a running pod).
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from linkerd.check import cluster
from linkerd.errors import CheckFailed, LinkerdError
from linkerd.kube import streams
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import DEPLOYMENTS, NAMESPACES, PODS

if TYPE_CHECKING:
    import grpc.aio

METRICS_API_PORT = 8085
_HINT = "Validate the install with: `linkerd viz check`"


async def namespace(kube: KubeClient, args: argparse.Namespace) -> str:
    """Returns the namespace of the viz extension.

    Raises:
        CheckFailed: Kubernetes or the extension is out of reach.
    """
    if getattr(args, "viz_namespace", None):
        return str(args.viz_namespace)
    try:
        found = await kube.list(NAMESPACES, label_selector="linkerd.io/extension=viz")
    except LinkerdError as error:
        raise CheckFailed(f"Cannot connect to Kubernetes: {error.message}", hint=_HINT) from None
    if not found:
        raise CheckFailed(
            "Cannot connect to Linkerd Viz: could not find the linkerd-viz extension", hint=_HINT
        )
    return str(found[0]["metadata"]["name"])


async def running_pod(kube: KubeClient, namespace: str, deployment: str) -> str:
    """Returns the name of a pod of a deployment that runs and is ready.

    Raises:
        CheckFailed: there is none.
    """
    body = await kube.get_or_none(DEPLOYMENTS, deployment, namespace)
    labels = body["spec"]["selector"].get("matchLabels") or {} if body else {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = await kube.list(PODS, namespace, label_selector=selector) if selector else []
    for pod in pods:
        if cluster.is_ready(pod) and "deletionTimestamp" not in pod["metadata"]:
            return str(pod["metadata"]["name"])
    raise CheckFailed(
        f"Cannot connect to Linkerd Viz: no ready pod of deployment {namespace}/{deployment}",
        hint=_HINT,
    )


@contextlib.asynccontextmanager
async def metrics_api(
    kube: KubeClient, args: argparse.Namespace
) -> AsyncIterator[grpc.aio.Channel]:
    """Lends a channel to metrics-api, through a port-forward unless `--api-addr` is given.

    Raises:
        CheckFailed: it is not running.
    """
    import grpc.aio

    options = [("grpc.enable_http_proxy", 0)]
    if args.api_addr:
        async with grpc.aio.insecure_channel(args.api_addr, options=options) as channel:
            yield channel
        return
    where = await namespace(kube, args)
    pod = await running_pod(kube, where, "metrics-api")
    async with (
        streams.port_forward(kube, pod, where, METRICS_API_PORT) as (host, port),
        grpc.aio.insecure_channel(f"{host}:{port}", options=options) as channel,
    ):
        yield channel
