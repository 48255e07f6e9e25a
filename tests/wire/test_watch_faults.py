"""R10: whatever happens to lists and watches, in the end the client knows what the API knows.

A few schedules in each run; `make test-deep` runs a thousand.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from linkerd.kube import watch
from linkerd.kube.client import KubeClient
from linkerd.kube.config import KubeConfig
from linkerd.kube.resources import PODS
from linkerd.kube.watch import Applied, Deleted, Reset
from tests.wire.api import Api
from tests.wire.faults import FaultyApi

SCHEDULES = int(os.environ.get("FAULT_SCHEDULES", "12"))
STEPS = 60
RELIST_S = 0.3


class Informer:
    """What a watch has told."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.changed = asyncio.Event()

    async def follow(self, kube: KubeClient) -> None:
        async for event in kube.watch(PODS):
            match event:
                case Reset(objects):
                    self.known = dict(version(item) for item in objects)
                case Applied(item):
                    self.known.update([version(item)])
                case Deleted(item):
                    self.known.pop(version(item)[0], None)
            self.changed.set()

    async def until(self, wanted: dict[str, str]) -> None:
        async with asyncio.timeout(40):
            while self.known != wanted:
                self.changed.clear()
                await self.changed.wait()


def version(item: dict[str, Any]) -> tuple[str, str]:
    return item["metadata"]["name"], item["metadata"]["resourceVersion"]


def truth(api: Api) -> dict[str, str]:
    return dict(version(item) for key, item in api.objects.items() if key[0] == "pods")


@contextlib.asynccontextmanager
async def informed(api: Api) -> AsyncIterator[Informer]:
    informer = Informer()
    await api.start()
    async with KubeClient(KubeConfig(server=f"http://127.0.0.1:{api.port}")) as kube:
        task = asyncio.create_task(informer.follow(kube))
        try:
            yield informer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await api.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_RELIST_S", RELIST_S)
    monkeypatch.setattr(watch, "_BACKOFF_MIN_S", 0.01)
    monkeypatch.setattr(watch, "_BACKOFF_MAX_S", 0.1)


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_the_client_ends_up_with_the_truth(seed: int) -> None:
    api = FaultyApi(seed)
    async with informed(api) as informer:
        for step in range(STEPS):
            name = f"pod-{api.random.randrange(8)}"
            if ("pods", "ns", name) in api.objects and api.random.random() < 0.4:
                api.delete("pods", "ns", name)
            else:
                api.apply("pods", {"metadata": {"name": name, "namespace": "ns"}})
            if api.random.random() < 0.03:
                api.forget_history()
            if api.random.random() < 0.03:
                await api.partition()
            await asyncio.sleep(0.002 if step % 3 else 0)
        api.calm = True
        api.apply("pods", {"metadata": {"name": "last", "namespace": "ns"}})
        await informer.until(truth(api))
        assert api.faults


async def test_an_api_that_expires_every_version_is_not_listed_in_a_storm() -> None:
    class Forgetful(FaultyApi):
        def deliver(self, writer: asyncio.StreamWriter, events: list[dict[str, Any]]) -> bool:
            error = {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}
            return Api.deliver(self, writer, [error])

    api = Forgetful(0)
    api.calm = True
    loop = asyncio.get_running_loop()
    async with informed(api) as informer:
        began = loop.time()
        for number in range(12):
            api.apply("pods", {"metadata": {"name": f"pod-{number}", "namespace": "ns"}})
            await informer.until(truth(api))
        assert api.lists <= 4 + (loop.time() - began) / RELIST_S


async def test_an_event_out_of_order_has_the_kind_listed_again() -> None:
    class Swapping(FaultyApi):
        def deliver(self, writer: asyncio.StreamWriter, events: list[dict[str, Any]]) -> bool:
            return Api.deliver(self, writer, events[::-1])

    api = Swapping(0)
    api.calm = True
    async with informed(api) as informer:
        await informer.until({})
        for _ in range(5):
            api.apply("pods", {"metadata": {"name": "a", "namespace": "ns"}})
            api.apply("pods", {"metadata": {"name": "b", "namespace": "ns"}})
            await informer.until(truth(api))
