"""The dashboard's server over HTTP, in front of a real metrics-api without Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from linkerd.errors import MetricsError, Unavailable
from linkerd.viz.web import app, feed, guard, views
from linkerd.viz.web.feed import Feeds
from linkerd.viz.web.pages import Pages
from linkerd.viz.web.views import View
from tests.wire.test_metrics_api import an_api

HOSTS = r"^(localhost|127\.0\.0\.1)(:\d+)?$"
CONTENT: dict[str, Any] = {"kind": "namespace", "rows": []}


class Source:
    """Counts how often content is asked for."""

    def __init__(self) -> None:
        self.polls = 0

    async def poll(self, view: View) -> dict[str, Any]:
        self.polls += 1
        return {**CONTENT, "poll": self.polls}


def a_page(folder: Path) -> Path:
    (folder / "assets").mkdir()
    (folder / "assets" / "index-1.js").write_text("export {};")
    (folder / "index.html").write_text('<!doctype html><base href="/" /><p>page</p>')
    return folder


@contextlib.asynccontextmanager
async def a_client(static: Path, source: Source) -> AsyncIterator[httpx2.AsyncClient]:
    async with an_api(None) as channel:
        feeds = Feeds(source.poll, interval_s=0.01)
        application = app.create(app.Parts(channel, feeds, Pages(channel, None)), static, HOSTS)
        transport = httpx2.ASGITransport(application)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, "<p>page</p>"),
        ("/namespaces/emojivoto/deployments", 200, "<p>page</p>"),
        ("/namespaces/", 200, "<p>page</p>"),
        ("/assets/index-1.js", 200, "export"),
        ("/assets/..%2findex.html", 200, "<p>page</p>"),
        ("/assets/none.js", 404, "not found"),
        ("/api/none", 404, "is not served"),
        ("/api/version", 200, "version"),
        ("/api/services?namespace=emojivoto", 200, '"name": "web-svc"'),
        ("/api/tps-reports?namespace=emojivoto&skip_stats=true", 200, '"runningPodCount": "2"'),
        ("/api/tps-reports?resource_type=potato", 400, "canonical name"),
        ("/api/edges?namespace=emojivoto", 500, "no prometheus instance"),
        ("/api/stream?kind=potato", 400, "no view"),
        ("/api/stream?window=7d", 400, "is not one of"),
    ],
)
async def test_paths_answer_with_strict_headers(
    tmp_path: Path, path: str, status: int, text: str
) -> None:
    async with a_client(a_page(tmp_path), Source()) as client:
        answer = await client.get(path)
    assert (status, True) == (answer.status_code, text in answer.text), answer.text
    assert guard.CSP == answer.headers["content-security-policy"]
    assert "nosniff" == answer.headers["x-content-type-options"]


async def test_foreign_hosts_are_refused(tmp_path: Path) -> None:
    async with a_client(a_page(tmp_path), Source()) as client:
        answer = await client.get("/api/version", headers={"Host": "evil.example"})
    assert 400 == answer.status_code
    assert "https://linkerd.io/dns-rebinding" in answer.text


@pytest.mark.parametrize(
    ("prefix", "base"), [("/mesh", "/mesh/"), ("//evil.example", "/"), ('/"><script>', "/")]
)
async def test_the_page_works_below_a_path(tmp_path: Path, prefix: str, base: str) -> None:
    async with a_client(a_page(tmp_path), Source()) as client:
        answer = await client.get("/", headers={"X-Forwarded-Prefix": prefix})
    assert f'<base href="{base}"' in answer.text


async def test_without_a_built_page_the_api_still_works(tmp_path: Path) -> None:
    async with a_client(tmp_path, Source()) as client:
        assert "not built" in (await client.get("/")).text
        assert 200 == (await client.get("/api/version")).status_code


async def test_browsers_of_a_view_share_its_polls() -> None:
    source = Source()
    feeds = Feeds(source.poll, interval_s=3600)
    async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        streams = [feeds.subscribe(views.view()) for _ in range(10)]
        for stream in streams:
            stack.push_async_callback(stream.aclose)
        seen = [await anext(stream) for stream in streams]
    assert [feed.event("rows", {**CONTENT, "poll": 1})] * 10 == seen
    assert 1 == source.polls


async def test_polling_ends_with_the_last_browser() -> None:
    source = Source()
    feeds = Feeds(source.poll, interval_s=3600)
    for expected in (1, 2):
        stream = feeds.subscribe(views.view())
        assert feed.event("rows", {**CONTENT, "poll": expected}) == await anext(stream)
        await stream.aclose()


async def test_trouble_is_told_and_ends() -> None:
    outcomes: list[Any] = [MetricsError("no prometheus instance"), CONTENT]

    async def poll(view: View) -> dict[str, Any]:
        outcome = outcomes.pop(0)
        if isinstance(outcome, MetricsError):
            raise outcome
        return dict(outcome)

    stream = Feeds(poll, interval_s=0.01).subscribe(views.view())
    async with asyncio.timeout(60):
        assert feed.event("trouble", {"error": "no prometheus instance"}) == await anext(stream)
        assert feed.event("rows", CONTENT) == await anext(stream)
    await stream.aclose()


async def test_live_pages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SUBSCRIBERS_MAX", 1)
    feeds = Feeds(Source().poll, interval_s=3600)
    first, second = feeds.subscribe(views.view()), feeds.subscribe(views.view())
    await anext(first)
    with pytest.raises(Unavailable, match="live pages"):
        await anext(second)
    await first.aclose()


async def test_a_stream_is_server_sent_events() -> None:
    feeds = Feeds(Source().poll, interval_s=3600)
    events = app.events(views.view(), feeds)
    name, data, *_ = (await anext(events)).decode().split("\n")
    await events.aclose()
    assert "event: rows" == name
    assert {**CONTENT, "poll": 1} == json.loads(data.removeprefix("data: "))
