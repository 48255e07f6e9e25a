"""Applies manifests in an order that works: one by one as written, a new kind once it is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from linkerd.errors import LinkerdError, NotFound
from linkerd.kube.client import KubeClient

Object = dict[str, Any]

FIELD_MANAGER = "linkerd-local"
#: How long an object may wait until its kind, just defined, is served.
_KIND_S = 10.0
_RETRY_S = 0.1


async def unknown(kube: KubeClient, bodies: Iterable[Object]) -> list[tuple[Object, NotFound]]:
    """Returns the objects whose kind is neither served nor defined by another of the objects.

    Asked before the first is applied, so that a slip of the pen leaves nothing half-made. Kinds
    that were defined a moment ago get the time to be served.
    """
    bodies = list(bodies)
    defined = {pair for body in bodies for pair in _defines(body)}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _KIND_S
    while True:
        found = []
        for body in bodies:
            group = body["apiVersion"].rpartition("/")[0]
            if (group, body["kind"]) in defined:
                continue
            try:
                await kube.resource_for(body["apiVersion"], body["kind"])
            except NotFound:
                pair = f"no kind {body['kind']} in {body['apiVersion']}"
                found.append((body, NotFound(pair, status=404, reason="NotFound")))
        if not found or loop.time() >= deadline:
            return found
        await asyncio.sleep(_RETRY_S)


def _defines(body: Object) -> list[tuple[str, str]]:
    if body["kind"] != "CustomResourceDefinition":
        return []
    spec = body.get("spec") or {}
    kind = (spec.get("names") or {}).get("kind")
    return [(str(spec.get("group")), str(kind))]


async def apply(
    kube: KubeClient, bodies: Iterable[Object], namespace: str = "default"
) -> AsyncIterator[tuple[Object, str | LinkerdError]]:
    """Yields each object with `created`, `configured`, `unchanged` or the error.

    Args:
        kube: The cluster.
        bodies: Manifests in order.
        namespace: Of objects that name none.
    """
    loop = asyncio.get_running_loop()
    for body in bodies:
        deadline = loop.time() + _KIND_S
        while True:
            try:
                outcome: str | LinkerdError = await _apply(kube, body, namespace)
            except NotFound as error:
                if loop.time() < deadline:
                    await asyncio.sleep(_RETRY_S)
                    continue
                outcome = error
            except LinkerdError as error:
                outcome = error
            break
        yield body, outcome


async def _apply(kube: KubeClient, body: Object, namespace: str) -> str:
    resource = await kube.resource_for(body["apiVersion"], body["kind"])
    metadata = body["metadata"]
    if resource.namespaced and not metadata.get("namespace"):
        body = {**body, "metadata": {**metadata, "namespace": namespace}}
    where = body["metadata"].get("namespace") if resource.namespaced else None
    before = await kube.get_or_none(resource, metadata["name"], where)
    after = await kube.apply(body, resource=resource, field_manager=FIELD_MANAGER)
    if before is None:
        return "created"
    versions = [seen["metadata"].get("resourceVersion") for seen in (before, after)]
    return "unchanged" if versions[0] == versions[1] else "configured"
