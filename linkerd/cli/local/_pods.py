"""From what a user writes, `web-6f…`, `pod/web-6f…` or `deploy/web`, to a pod."""

from __future__ import annotations

from typing import Any

from linkerd.cli.local import _kinds
from linkerd.errors import NotFound
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import PODS

_PROXY = "linkerd-proxy"
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


async def find(kube: KubeClient, word: str, namespace: str) -> dict[str, Any]:
    """Returns the pod, or a pod of the workload: one that runs and goes on running if there is.

    Raises:
        NotFound: there is none.
        UsageError: the word names no kind.
    """
    kind, slash, name = word.partition("/")
    if not slash:
        return await kube.get(PODS, word, namespace)
    resource = await _kinds.resolve(kube, kind)
    if resource.plural == PODS.plural:
        return await kube.get(PODS, name, namespace)
    spec = (await kube.get(resource, name, namespace)).get("spec") or {}
    selector = spec.get("selector") or {}
    labels = selector.get("matchLabels") or {} if "matchLabels" in selector else selector
    text = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = await kube.list(PODS, namespace, label_selector=text) if text else []
    if not pods:
        raise NotFound(f"{word} in {namespace} has no pods")
    return min(pods, key=_unfit)


def _unfit(pod: dict[str, Any]) -> tuple[bool, bool, bool]:
    status = pod.get("status") or {}
    ready = any(
        one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ()
    )
    leaving = "deletionTimestamp" in pod["metadata"]
    return leaving, status.get("phase") != "Running", not ready


def main_container(pod: dict[str, Any]) -> str:
    """Returns the container that a user means who names none: never the proxy beside others."""
    annotations = pod["metadata"].get("annotations") or {}
    names = [container["name"] for container in pod["spec"]["containers"]]
    chosen = annotations.get(_DEFAULT_CONTAINER)
    if chosen in names:
        return str(chosen)
    return str(next((name for name in names if name != _PROXY), names[0]))
