"""What the dashboard asks of Kubernetes and passes on to a Grafana: a real API server, real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import grpc.aio
import httpx2
import pytest
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from linkerd.kube.client import KubeClient
from linkerd.kube.config import KubeConfig
from linkerd.kube.resources import NAMESPACES, SERVICES
from linkerd.viz.web import app
from linkerd.viz.web.feed import Feeds
from linkerd.viz.web.objects import Answer, Objects
from linkerd.viz.web.pages import Pages
from linkerd.viz.web.passing import Passing
from tests.wire.local_server import LocalServer, running

ANSWERS = (
    Answer("linkerd-existence", "'linkerd-config' config map exists"),
    Answer("linkerd-version", "cli is up-to-date", "it is not"),
    Answer("linkerd-config", "control plane ClusterRoles exist", "missing: x", "https://h#x"),
    Answer("linkerd-ha", "multiple replicas", "one", warning=True),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with running(tmp_path_factory.mktemp("api")) as one:
        yield one


def a_kube(server: LocalServer, *, user: str = "") -> KubeClient:
    return KubeClient(
        KubeConfig(
            server=f"https://127.0.0.1:{server.port}",
            ca_pem=server.paths.ca_cert.read_text(),
            token=server.paths.token("admin").read_text(),
            impersonate_user=user,
        )
    )


@contextlib.asynccontextmanager
async def a_client(
    objects: Objects, passing: Passing | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        pages = Pages(channel, None)
        parts = app.Parts(channel, Feeds(pages.poll), pages, objects, passing=passing)
        transport = httpx2.ASGITransport(app.create(parts, Path("none"), ""))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield http


async def test_extensions_and_definitions_come_from_the_cluster(server: LocalServer) -> None:
    labels = {"linkerd.io/extension": "viz"}
    async with a_kube(server) as kube:
        await kube.create_or_replace(
            NAMESPACES, {"metadata": {"name": "linkerd-viz", "labels": labels}}
        )
        ports = [{"port": 80}]
        body = {"metadata": {"name": "web", "namespace": "linkerd-viz"}, "spec": {"ports": ports}}
        await kube.create_or_replace(SERVICES, body)
        async with a_client(Objects(kube)) as http:
            listed = (await http.get("/api/extensions")).json()["extensions"]
            assert [("viz", "linkerd-viz")] == [(e["name"], e["namespace"]) for e in listed]
            one = (await http.get("/api/extensions?extension_name=viz")).json()["data"]
            assert listed == [one]
            path = "/api/resource-definition?namespace=linkerd-viz&resource_type="
            answer = await http.get(path + "service&resource_name=web")
            assert "text/yaml; charset=utf-8" == answer.headers["content-type"]
            assert 80 == yaml.safe_load(answer.text)["spec"]["ports"][0]["port"]
            for query, status in (
                ("service", 400),
                ("potato&resource_name=x", 400),
                ("service&resource_name=none", 404),
            ):
                assert status == (await http.get(path + query)).status_code


@pytest.mark.parametrize(("user", "expected"), [("", True), ("visitor", False)])
async def test_the_page_knows_whether_it_may_tap(
    server: LocalServer, user: str, expected: bool
) -> None:
    async with a_kube(server, user=user) as kube:
        assert expected is await Objects(kube).may_tap()


@pytest.mark.parametrize(
    ("query", "status"),
    [("service=web-svc&namespace=emojivoto", 200), ("service=../x&namespace=y", 400)],
)
async def test_a_profile_to_begin_with_is_a_download(query: str, status: int) -> None:
    async with a_client(Objects(None, cluster_domain="example.org")) as http:
        answer = await http.get(f"/profiles/new?{query}")
    assert status == answer.status_code
    if status == 200:
        body = yaml.safe_load(answer.text)
        assert "web-svc.emojivoto.svc.example.org" == body["metadata"]["name"]
        expected = "attachment; filename=web-svc-profile.yml"
        assert expected == answer.headers["content-disposition"]


async def test_checks_are_linkerds_json_and_run_once_for_all() -> None:
    runs = 0

    async def checks() -> Sequence[Answer]:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        return ANSWERS

    async with a_client(Objects(None, checks)) as http:
        answers = await asyncio.gather(*(http.get("/api/check") for _ in range(5)))
    assert 1 == runs
    body = answers[0].json()
    assert not body["success"]
    assert {"linkerd-existence", "linkerd-config", "linkerd-ha"} == body["results"].keys()
    (failed,) = body["results"]["linkerd-config"]
    assert ("missing: x", "https://h#x", False) == (
        failed["ErrMsg"],
        failed["HintURL"],
        failed["Warning"],
    )


@contextlib.asynccontextmanager
async def a_grafana() -> AsyncIterator[str]:
    """A server that tells what it was asked."""

    async def told(request: Request) -> Response:
        body = (await request.body()).decode()
        seen = {"headers": dict(request.headers), "path": str(request.url.path), "body": body}
        seen["query"] = request.url.query
        return JSONResponse(seen, 201, {"Content-Security-Policy": "script-src grafana"})

    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    route = Route("/{rest:path}", told, methods=["GET", "POST"])
    config = uvicorn.Config(Starlette(routes=[route]), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[sock]))
        try:
            yield f"127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


async def test_requests_below_grafana_are_passed_on() -> None:
    async with (
        a_grafana() as address,
        Passing(address) as passing,
        a_client(Objects(None), passing) as http,
    ):
        own = {"Origin": "http://localhost", "X-Grafana-Org-Id": "1"}
        answer = await http.post("/grafana/api/ds/query?ds_type=x", headers=own, content="{}")
        refused = await http.post("/grafana/api/ds/query", headers={"Origin": "http://evil"})
        redirected = await http.get("/grafana")
        page = await http.get("/namespaces")
    assert 201 == answer.status_code
    assert "script-src grafana" == answer.headers["content-security-policy"]
    seen = answer.json()
    assert ("/grafana/api/ds/query", "ds_type=x", "{}") == (
        seen["path"],
        seen["query"],
        seen["body"],
    )
    headers = seen["headers"]
    assert (address, "localhost", "1") == (
        headers["host"],
        headers["x-forwarded-host"],
        headers["x-grafana-org-id"],
    )
    assert "origin" not in headers
    assert 403 == refused.status_code
    assert (307, "grafana/") == (redirected.status_code, redirected.headers["location"])
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_a_grafana_that_is_away_is_said_to_be() -> None:
    async with Passing("127.0.0.1:1") as passing, a_client(Objects(None), passing) as http:
        answer = await http.get("/grafana/d/linkerd-pod")
    assert (502, True) == (answer.status_code, "out of reach" in answer.json()["error"])
