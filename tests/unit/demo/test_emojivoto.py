"""Emojivoto's services and web on loopback, without a mesh; excludes the pages' looks."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from demo import http as demo_http
from demo.emojivoto import emoji, emoji_svc, rpc, vote_bot, voting_svc, web


class App:
    """A running emojivoto: its port and the voting service's metrics."""

    def __init__(self, port: int, metrics: rpc.Metrics) -> None:
        self.port = port
        self.metrics = metrics

    async def get(self, path: str) -> tuple[int, Any]:
        """Returns status and JSON body (None when empty) of a GET."""
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, json.loads(body) if body else None


@pytest_asyncio.fixture
async def app() -> AsyncIterator[App]:
    """Emoji, voting and web as in the demo: each vote for the doughnut fails."""
    metrics = rpc.Metrics()
    emojis, emoji_port = await rpc.start("EmojiService", emoji_svc.methods(), rpc.Metrics(), 0)
    voting, voting_port = await rpc.start("VotingService", voting_svc.methods(metrics), metrics, 0)
    backends = web.Backends(f"127.0.0.1:{emoji_port}", f"127.0.0.1:{voting_port}")
    server = await demo_http.serve(web.Web(backends, "hello <b>"), "127.0.0.1", 0)
    yield App(server.sockets[0].getsockname()[1], metrics)
    server.close()
    await backends.close()
    await emojis.stop(None)
    await voting.stop(None)


async def test_list_has_the_hundred_emoji(app: App) -> None:
    status, body = await app.get("/api/list")
    assert 200 == status
    assert 100 == len(body)
    assert {"shortcode": ":doughnut:", "unicode": "🍩"} in body


async def test_leaderboard_shows_most_votes_first(app: App) -> None:
    for choice in (":joy:", ":pizza:", ":joy:"):
        assert (200, None) == await app.get(f"/api/vote?choice={choice}")
    status, rows = await app.get("/api/leaderboard")
    assert 200 == status
    assert [(":joy:", "2"), (":pizza:", "1")] == [(r["shortcode"], r["votes"]) for r in rows]


async def test_voting_for_the_doughnut_fails(app: App) -> None:
    status, body = await app.get("/api/vote?choice=:doughnut:")
    assert 500 == status
    assert {"error": "rpc error: code = Unknown desc = ERROR"} == body
    assert 1 == app.metrics.handled["emojivoto.v1.VotingService", "VoteDoughnut", "Unknown"]
    assert (200, []) == await app.get("/api/leaderboard")


@pytest.mark.parametrize("query", ["", "?choice=", "?choice=:nobody:"])
async def test_a_vote_without_a_known_emoji_is_refused(app: App, query: str) -> None:
    status, _ = await app.get(f"/api/vote{query}")
    assert 400 == status


async def test_the_bot_votes(app: App) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=60)
    for _ in range(5):
        line = await asyncio.to_thread(vote_bot.vote, connection, {})
        assert line.startswith("✔ Voting for :")
    connection.close()
    assert 5 == sum(app.metrics.handled.values())


async def test_every_emoji_but_one_can_be_voted_for(app: App) -> None:
    """Each shortcode leads to a method that exists."""
    failing = []
    for shortcode in emoji.RPC:
        status, _ = await app.get(f"/api/vote?choice={shortcode}")
        if status != 200:
            failing.append(shortcode)
    assert [":doughnut:"] == failing


async def test_failure_rate_zero_lets_the_doughnut_win() -> None:
    _, vote = voting_svc.methods(rpc.Metrics(), failure_rate=0.0)["VoteDoughnut"]
    await vote(None)


async def test_pages_quote_the_message_of_the_day(app: App) -> None:
    page = await asyncio.to_thread(_body, app.port, "/leaderboard")
    assert "hello &lt;b&gt;" in page
    assert "<title>Emoji Vote</title>" in page


def _body(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_the_proto_has_a_method_for_each_emoji() -> None:
    text = Path("demo/emojivoto/emojivoto.proto").read_text()
    missing = [name for name in emoji.RPC.values() if f"rpc {name}(" not in text]
    assert [] == missing


@pytest.mark.parametrize("path", ["emojivoto/emojivoto.yml", "http_echo/http-echo.yml"])
def test_services_select_their_deployments(path: str) -> None:
    objects = [o for o in yaml.safe_load_all(Path("demo", path).read_text()) if o]
    pods = [
        o["spec"]["template"]["metadata"]["labels"] for o in objects if o["kind"] == "Deployment"
    ]
    for service in (o for o in objects if o["kind"] == "Service"):
        selector = service["spec"]["selector"]
        assert 1 == sum(selector.items() <= labels.items() for labels in pods)
