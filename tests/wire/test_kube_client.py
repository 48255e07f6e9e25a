"""The Kubernetes client against a real server on loopback: objects, errors, watches, outages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from linkerd.errors import Conflict, Forbidden, Gone, Invalid, NotFound, Unavailable
from linkerd.kube.client import KubeClient, error_of
from linkerd.kube.config import KubeConfig
from linkerd.kube.resources import CONFIG_MAPS, PODS
from linkerd.kube.watch import Applied, Deleted, Event, Reset
from tests.wire.api import Api, serving


def a_pod(name: str, **extra: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", **extra}}


def a_client(api: Api) -> KubeClient:
    return KubeClient(KubeConfig(server=f"http://127.0.0.1:{api.port}", token="secret"))


async def take(events: Any, count: int) -> list[Event[Any]]:
    async with asyncio.timeout(60):
        return [await anext(events) for _ in range(count)]


def names(event: Event[Any]) -> list[str]:
    return [item["metadata"]["name"] for item in event.objects] if isinstance(event, Reset) else []


async def test_objects_live_from_create_to_delete() -> None:
    async with serving() as api, a_client(api) as kube:
        created = await kube.create(CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {}}, "ns")
        assert "a" == created["metadata"]["name"]
        with pytest.raises(Conflict):
            await kube.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "ns")
        created["data"] = {"k": "v"}
        created["metadata"]["namespace"] = "ns"
        replaced = await kube.replace(CONFIG_MAPS, created)
        assert {"k": "v"} == replaced["data"]
        with pytest.raises(Conflict):
            await kube.replace(CONFIG_MAPS, created)
        await kube.patch(CONFIG_MAPS, "a", {"data": {"k": "w"}}, "ns")
        assert {"k": "w"} == (await kube.get(CONFIG_MAPS, "a", "ns"))["data"]
        await kube.delete(CONFIG_MAPS, "a", "ns")
        assert await kube.get_or_none(CONFIG_MAPS, "a", "ns") is None


async def test_create_or_replace_overrides_what_is_there() -> None:
    async with serving() as api, a_client(api) as kube:
        body = {"metadata": {"name": "a", "namespace": "ns"}, "data": {"k": "1"}}
        await kube.create_or_replace(CONFIG_MAPS, body)
        await kube.create_or_replace(CONFIG_MAPS, {**body, "data": {"k": "2"}})
        assert {"k": "2"} == (await kube.get(CONFIG_MAPS, "a", "ns"))["data"]


async def test_lists_follow_pages() -> None:
    async with serving() as api, a_client(api) as kube:
        api.page = 2
        for name in "abcde":
            api.apply("pods", a_pod(name))
        found = await kube.list(PODS, "ns")
        assert list("abcde") == [pod["metadata"]["name"] for pod in found]
        assert {"Pod"} == {pod["kind"] for pod in found}


async def test_requests_carry_the_token_and_reuse_the_connection() -> None:
    async with serving() as api, a_client(api) as kube:
        for _ in range(3):
            await kube.list(PODS)
        assert {"Bearer secret"} == {headers["authorization"] for _, _, headers, _ in api.requests}


async def test_a_request_survives_a_dropped_idle_connection() -> None:
    async with serving() as api, a_client(api) as kube:
        await kube.list(PODS)
        await api.stop()
        await api.start()
        assert [] == await kube.list(PODS)


async def test_no_server_is_unavailable() -> None:
    async with KubeClient(KubeConfig(server="http://127.0.0.1:1")) as kube:
        with pytest.raises(Unavailable):
            await kube.get(PODS, "a", "ns")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (422, Invalid),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_statuses_become_errors(status: int, kind: type[Exception]) -> None:
    error = error_of(status, b'{"message": "no", "reason": "Why"}', "GET /x")
    assert (kind, "no", "Why", status) == (type(error), error.message, error.reason, error.status)


async def test_a_watch_lists_first_and_then_follows() -> None:
    async with serving() as api, a_client(api) as kube:
        api.apply("pods", a_pod("a"))
        events = kube.watch(PODS)
        (first,) = await take(events, 1)
        assert ["a"] == names(first)
        api.apply("pods", a_pod("b"))
        api.delete("pods", "ns", "a")
        applied, deleted = await take(events, 2)
        assert isinstance(applied, Applied)
        assert "b" == applied.object["metadata"]["name"]
        assert isinstance(deleted, Deleted)
        assert "a" == deleted.object["metadata"]["name"]


async def test_a_watch_resumes_after_an_outage_without_listing_again() -> None:
    async with serving() as api, a_client(api) as kube:
        events = kube.watch(PODS)
        await take(events, 1)
        api.apply("pods", a_pod("a"))
        await take(events, 1)
        await api.stop()
        api.apply("pods", a_pod("b"))
        await api.start()
        (event,) = await take(events, 1)
        assert isinstance(event, Applied)
        assert "b" == event.object["metadata"]["name"]


async def test_a_watch_lists_again_when_its_version_is_gone() -> None:
    async with serving() as api, a_client(api) as kube:
        api.apply("pods", a_pod("a"))
        events = kube.watch(PODS)
        await take(events, 1)
        await api.stop()
        api.delete("pods", "ns", "a")
        api.apply("pods", a_pod("b"))
        api.forget_history()
        await api.start()
        (event,) = await take(events, 1)
        assert ["b"] == names(event)


async def test_a_kind_that_is_not_served_counts_as_empty() -> None:
    async with serving() as api, a_client(api) as kube:
        api.absent.add("pods")
        (event,) = await take(kube.watch(PODS), 1)
        assert Reset([]) == event


async def test_an_object_that_does_not_decode_is_skipped() -> None:
    from linkerd.model.objects import Pod

    async with serving() as api, a_client(api) as kube:
        api.apply("pods", {"metadata": {"name": "bad", "namespace": "ns", "labels": 7}})
        api.apply("pods", a_pod("good"))
        (event,) = await take(kube.watch(PODS, decode=Pod), 1)
        assert isinstance(event, Reset)
        assert ["good"] == [pod.metadata.name for pod in event.objects]
