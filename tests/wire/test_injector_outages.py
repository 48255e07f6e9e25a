"""The injector while the API server is slow or away (R17): it answers in time, and never guesses.

Not covered: what failure policies make of it, which is Kubernetes' part (`tests/kubernetes`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from linkerd.daemons.proxy_injector import Cluster
from linkerd.errors import KubeError
from linkerd.kube.client import KubeClient
from linkerd.kube.config import KubeConfig
from tests.wire.api import Api, serving

LOOKUP_S = 0.2


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[KubeClient]:
    """A client of a server that takes every request and answers none."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with KubeClient(KubeConfig(f"http://127.0.0.1:{port}")) as kube:
            yield kube


def a_pod() -> dict[str, Any]:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u"}
    return {"metadata": {"name": "web-1-x", "ownerReferences": [{**owner, "controller": True}]}}


@contextlib.asynccontextmanager
async def following(api: Api) -> AsyncIterator[Cluster]:
    async with KubeClient(KubeConfig(f"http://127.0.0.1:{api.port}")) as kube:
        cluster = Cluster(kube, LOOKUP_S)
        task = asyncio.create_task(cluster.follow())
        try:
            await cluster.synced.wait()
            yield cluster
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_an_owner_that_nobody_tells_of_is_the_direct_one() -> None:
    async with silent() as kube, asyncio.timeout(20):
        found = await Cluster(kube, LOOKUP_S).owner(a_pod(), "ns")
    assert found is not None
    assert ("ReplicaSet", "web-1") == (found.kind, found.name)


async def test_an_unknown_namespace_is_refused_rather_than_guessed() -> None:
    async with silent() as kube, asyncio.timeout(20):
        with pytest.raises(KubeError, match="no answer about shop"):
            await Cluster(kube, LOOKUP_S).annotations("shop")


async def test_known_namespaces_outlast_the_api_server() -> None:
    wanted = {"linkerd.io/inject": "enabled"}
    async with serving() as api:
        api.apply("namespaces", {"metadata": {"name": "shop", "annotations": wanted}})
        async with following(api) as cluster:
            await api.stop()
            assert wanted == await cluster.annotations("shop")
            await api.start()
