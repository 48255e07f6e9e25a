"""The dashboard's live pages, taps and dashboards in front of a real Prometheus, and in Chromium.

Every panel of every dashboard is asked; Chromium shows pages below a strict content security
policy. Not covered: a tap through the Kubernetes API (test_tap.py and the integration tests).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import uvicorn
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import linkerd.viz
from linkerd.serve import admin
from linkerd.serve.readiness import Readiness
from linkerd.viz.dashboards import DASHBOARDS
from linkerd.viz.prometheus import Prometheus
from linkerd.viz.web import app
from linkerd.viz.web.boards import Boards
from linkerd.viz.web.feed import Feeds
from linkerd.viz.web.objects import Objects
from linkerd.viz.web.pages import Pages
from linkerd.viz.web.taps import Taps
from tests.wire.test_metrics_api import a_prometheus, an_api, exporter, until_seen

STATIC = Path(linkerd.viz.__file__).parent / "static"
CHROMIUM = shutil.which("chromium")
VARIABLES = {
    "var-namespace": "emojivoto",
    "var-deployment": "web",
    "var-daemonset": "x",
    "var-statefulset": "x",
    "var-k8s_job": "x",
    "var-cronjob": "x",
    "var-replicaset": "x",
    "var-replicationcontroller": "x",
    "var-pod": "web-1-a",
    "var-service": "web-svc",
    "var-authority": "web-svc:80",
}

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus"),
]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


@contextlib.asynccontextmanager
async def a_dashboard(folder: Path) -> AsyncIterator[str]:
    """A served dashboard over a Prometheus that has seen requests; yields its address."""
    registry, responses, _ = exporter()
    async with (
        admin.serve("127.0.0.1", 0, registry=registry, readiness=Readiness()) as target,
        a_prometheus(folder, target) as prometheus,
        an_api(prometheus) as channel,
    ):
        await until_seen(prometheus, "count_over_time(response_total[1m]) > 1")
        responses.labels("inbound", "emojivoto", "web", "web-1-a", "success", "true").inc(30)
        await until_seen(prometheus, "increase(response_total[1m]) > 9")
        async with served(app.Parts(channel, *_parts(channel, prometheus))) as address:
            yield address


def _parts(channel: object, prometheus: Prometheus):  # type: ignore[no-untyped-def]
    pages = Pages(channel, prometheus)  # type: ignore[arg-type]
    return (
        Feeds(pages.poll, interval_s=0.2),
        pages,
        Objects(None),
        Taps(None),
        Boards(prometheus),
    )


@contextlib.asynccontextmanager
async def served(parts: app.Parts) -> AsyncIterator[str]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app.create(parts, STATIC, ""), log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[sock]))
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            await parts.feeds.close()
            await serving


async def test_every_panel_asks_what_prometheus_understands(tmp_path: Path) -> None:
    async with (
        a_dashboard(tmp_path) as address,
        httpx2.AsyncClient(base_url=address, trust_env=False, timeout=60) as http,
    ):
        listed = (await http.get("/grafana/api/dashboards")).json()["dashboards"]
        assert set(DASHBOARDS) == {board["uid"] for board in listed}
        for board in listed:
            for panel in (p for section in board["sections"] for p in section["panels"]):
                number = str(panel["number"])
                query = {"uid": board["uid"], "panel": number, "range": "5m", **VARIABLES}
                answer = await http.get("/grafana/api/panel", params=query)
                assert 200 == answer.status_code, (board["uid"], panel["title"], answer.text)
        query = {"uid": "linkerd-deployment", "range": "5m", **VARIABLES}
        rate = (await http.get("/grafana/api/panel", params={**query, "panel": "0"})).json()
        assert 0 <= rate["value"] <= 1
        values = await http.get("/grafana/api/values", params={**query, "name": "namespace"})
        assert {"values": ["emojivoto"]} == values.json()
        for wrong in ({"panel": "x"}, {"panel": "99"}, {"uid": "x", "panel": "0"}):
            answer = await http.get("/grafana/api/panel", params={**query, **wrong})
            assert answer.status_code in (400, 404)


async def test_history_and_live_pages_answer(tmp_path: Path) -> None:
    async with (
        a_dashboard(tmp_path) as address,
        httpx2.AsyncClient(base_url=address, trust_env=False, timeout=60) as http,
    ):
        own = {"kind": "deployment", "namespace": "emojivoto", "name": "web"}
        async with asyncio.timeout(60):
            # Points lie on multiples of the step: the newest requests come with the next one.
            while True:
                series = (await http.get("/api/history", params={**own, "range": "5m"})).json()
                assert len(series["times"]) == len(series["success"]) == 61
                if any(value for value in series["success"]):
                    break
                await asyncio.sleep(0.3)
        assert 400 == (await http.get("/api/history", params={**own, "range": "9y"})).status_code
        for page, expected in (
            ({**own, "page": "detail"}, '"inbound"'),
            ({"page": "namespace", "namespace": "emojivoto"}, '"tables"'),
            ({"page": "graph"}, '"edges"'),
            ({"page": "mesh"}, '"gateways"'),
            ({**own, "page": "detail", "name": "none"}, "not found"),
        ):
            async with http.stream("GET", "/api/stream", params=page) as stream:
                async for line in stream.aiter_lines():
                    if line.startswith("data:"):
                        assert expected in line
                        break


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({}, "resource=potato", 400),
        ({}, "resource=deploy/web&maxRps=-1", 400),
        ({"Origin": "https://evil.example"}, "resource=deploy/web", 403),
        ({"Sec-Fetch-Site": "cross-site"}, "resource=deploy/web", 403),
        ({}, "resource=deploy/web", 200),
    ],
)
async def test_only_pages_of_ours_start_taps(
    headers: dict[str, str], query: str, status: int
) -> None:
    async with an_api(None) as channel:
        pages = Pages(channel, None)
        parts = app.Parts(channel, Feeds(pages.poll), pages)
        transport = httpx2.ASGITransport(app.create(parts, STATIC, ""))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            answer = await http.get(f"/api/tap/top?{query}", headers=headers)
    assert status == answer.status_code
    if status == 200:
        assert "event: trouble" in answer.text, "without a cluster there is nothing to tap"


@pytest.mark.parametrize(
    ("origin", "message", "code"),
    [
        ("https://evil.example", "{}", 1008),
        ("http://testserver", "no json", 1011),
        ("http://testserver", '{"resource": "potato"}', 1011),
        ("http://testserver", '{"resource": "deploy/web", "namespace": "a"}', 1011),
    ],
)
async def test_the_websocket_closes_with_linkerds_codes(
    origin: str, message: str, code: int
) -> None:
    async with an_api(None) as channel:
        pages = Pages(channel, None)
        application = app.create(app.Parts(channel, Feeds(pages.poll), pages), STATIC, "")

        def talk() -> int:
            with (
                TestClient(application) as client,
                pytest.raises(WebSocketDisconnect) as closed,
                client.websocket_connect("/api/tap", headers={"Origin": origin}) as socket,
            ):
                socket.send_text(message)
                socket.receive_text()
            return closed.value.code

        assert code == await asyncio.to_thread(talk)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.skipif(not (STATIC / "index.html").exists(), reason="the page is not built")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/namespaces/emojivoto/deployments/web", "<title>web"),
        ("/tap?resource=deploy/web&namespace=a%22%3E%3Cscript%3E", "linkerd viz tap deploy/web"),
    ],
)
async def test_chromium_draws_pages_without_a_complaint(
    tmp_path: Path, path: str, expected: str
) -> None:
    """Draws only what needs no data: a page with an open stream never comes to rest."""
    assert CHROMIUM is not None
    async with an_api(None) as channel:
        pages = Pages(channel, None)
        async with served(app.Parts(channel, Feeds(pages.poll), pages)) as address:
            process = await asyncio.create_subprocess_exec(
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--enable-logging=stderr",
                "--timeout=40000",
                "--dump-dom",
                address + path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(60):
                    out, err = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    page, complaints = out.decode(), err.decode()
    assert expected in page, page[-2000:]
    assert "Content Security Policy" not in complaints, complaints
