"""Pods of a workload that the user names, ways into them, and the control plane's gRPC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from linkerd.check import cluster
from linkerd.errors import CheckFailed, NotFound, Unavailable, UsageError
from linkerd.kube import resources, streams
from linkerd.kube.client import KubeClient

if TYPE_CHECKING:
    import grpc.aio

_TIMEOUT_S = 30.0
_BODY_BYTES_MAX = 64 << 20


async def running_pods(kube: KubeClient, word: str, namespace: str) -> list[dict[str, Any]]:
    """Returns the meshed, running pods of `TYPE/NAME` or `TYPE`.

    Raises:
        UsageError: the word names no workload.
        NotFound: the workload has no such pods.
    """
    found = [
        pod
        for pod in await pods_of(kube, word, namespace)
        if cluster.proxy_container(pod) and cluster.phase(pod) == "Running"
    ]
    if not found:
        raise NotFound(f"no running meshed pods found for {word} in {namespace}")
    return found


async def pods_of(kube: KubeClient, word: str, namespace: str) -> list[dict[str, Any]]:
    """Returns the pods of `TYPE/NAME` or `TYPE`.

    Raises:
        UsageError: the word names no workload.
        NotFound: the workload does not exist.
    """
    from linkerd.viz import kinds

    target = kinds.targets([word])[0]
    selectors = [""]
    if target.kind == "pod" and target.name:
        return [await kube.get(resources.PODS, target.name, namespace)]
    if target.kind != "pod":
        selectors = await _selectors(kube, target.kind, target.name, namespace)
    return [
        pod
        for selector in selectors
        for pod in await kube.list(resources.PODS, namespace, label_selector=selector)
    ]


async def _selectors(kube: KubeClient, kind: str, name: str, namespace: str) -> list[str]:
    resource = next((r for r in resources.ALL if r.kind.lower() == kind), None)
    if resource is None or kind == "namespace":
        raise UsageError(f"{kind} has no pods of its own")
    if name:
        bodies = [await kube.get(resource, name, namespace)]
    else:
        bodies = await kube.list(resource, namespace)
    found = []
    for body in bodies:
        selector = (body.get("spec") or {}).get("selector") or {}
        labels = selector.get("matchLabels", selector)
        if labels:
            found.append(",".join(f"{key}={value}" for key, value in labels.items()))
    return found


async def admin_page(kube: KubeClient, pod: dict[str, Any], path: str) -> str:
    """Returns the body of a GET of the pod's proxy's admin server.

    Raises:
        Unavailable: it does not answer, or not with 200.
    """
    listen = cluster.proxy_env(pod, "LINKERD2_PROXY_ADMIN_LISTEN_ADDR")
    return await page(kube, pod, int(listen.rpartition(":")[2] or 4191), path)


async def page(kube: KubeClient, pod: dict[str, Any], port: int, path: str) -> str:
    """Returns the body of a GET of one of the pod's ports.

    Raises:
        Unavailable: it does not answer, or not with 200.
    """
    metadata = pod["metadata"]
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            streams.port_forward(kube, metadata["name"], metadata["namespace"], port) as address,
        ):
            reader, writer = await asyncio.open_connection(*address)
            head = f"GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: identity\r\n\r\n"
            writer.write(head.encode())
            data = bytearray()
            while chunk := await reader.read(65536):
                data += chunk
                if len(data) > _BODY_BYTES_MAX:
                    raise Unavailable(f"answer exceeds {_BODY_BYTES_MAX} bytes")
            writer.close()
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"{metadata['name']}: {error or 'no answer'}") from None
    answer, _, body = bytes(data).partition(b"\r\n\r\n")
    status = answer.split(b"\r\n")[0].decode("latin-1")
    if " 200" not in status:
        raise Unavailable(f"{metadata['name']}: {status or 'empty answer'}")
    return body.decode("utf-8", "replace")


@contextlib.asynccontextmanager
async def control_plane(
    kube: KubeClient, namespace: str, port: int, *, pod: str = ""
) -> AsyncIterator[grpc.aio.Channel]:
    """Lends a channel to a port of a destination pod.

    Args:
        kube: The cluster.
        namespace: The control plane's.
        port: 8086 destination, 8090 policy.
        pod: Which pod; any running one when empty.

    Raises:
        CheckFailed: there is none.
    """
    import grpc.aio

    if not pod:
        pods = await kube.list(
            resources.PODS, namespace, label_selector=f"{cluster.COMPONENT}=destination"
        )
        names = [p["metadata"]["name"] for p in pods if cluster.phase(p) == "Running"]
        if not names:
            raise CheckFailed(
                "Cannot find Linkerd: no running destination pod",
                hint="Validate the install with: `linkerd check`",
            )
        pod = names[0]
    options = [("grpc.enable_http_proxy", 0)]
    async with (
        streams.port_forward(kube, pod, namespace, port) as (host, local),
        grpc.aio.insecure_channel(f"{host}:{local}", options=options) as channel,
    ):
        yield channel
