"""HTTP of the dashboard: the page, its files, Linkerd's JSON API and live streams.

Every answer carries a strict content security policy; nothing on the page comes from elsewhere.
Source: linkerd2 web/srv (host check, paths and parameters of /api); JSON is protojson with
unpopulated fields.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from linkerd import VERSION
from linkerd.errors import LinkerdError, UsageError
from linkerd.gen import viz_pb2 as pb
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import NAMESPACES
from linkerd.viz import client
from linkerd.viz.kinds import Target, canonical
from linkerd.viz.queries import Object
from linkerd.viz.web import views
from linkerd.viz.web.boards import Boards
from linkerd.viz.web.feed import Feeds
from linkerd.viz.web.pages import Pages
from linkerd.viz.web.taps import Taps

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_CACHE_S = 1.5
_CACHE_MAX = 64
_PREFIX = re.compile(r"(/[A-Za-z0-9_.-]+)*/?")

_NOT_BUILT = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Linkerd viz</title>'
    "<h1>The dashboard is not built</h1>"
    "<p>Run <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code>. "
    'The API works without it: <a href="api/version">api/version</a>.</p></html>'
)

Ask = Callable[[Mapping[str, str]], Awaitable[Message]]


@dataclass(frozen=True)
class Parts:
    """What answers requests.

    `kube` is None where the Kubernetes API is out of reach: then there is no tap.
    """

    channel: grpc.aio.Channel
    feeds: Feeds
    pages: Pages
    kube: KubeClient | None = None
    boards: Boards | None = None


def create(parts: Parts, static: Path, enforced_host: str) -> ASGIApp:
    """Returns the application.

    Args:
        parts: What answers.
        static: Folder of the built page; may be missing.
        enforced_host: Regular expression that Host has to match; empty allows all.
    """
    channel, feeds = parts.channel, parts.feeds
    shell = _Shell(static)
    taps = Taps(parts.kube)
    boards = parts.boards or Boards(None)
    api: dict[str, Ask] = {
        "/api/tps-reports": lambda query: client.stat_response(channel, stat_request(query)),
        "/api/pods": lambda query: _pods(channel, query),
        "/api/services": lambda query: _services(channel, query),
        "/api/edges": lambda query: _edges(channel, query),
        "/api/routes": lambda query: _routes(channel, query),
        "/api/gateways": lambda query: _gateways(channel, query),
        "/api/authz": lambda query: _authz(channel, query),
    }
    answers = _Cache()
    routes: list[BaseRoute] = [Route(path, _json(ask, answers)) for path, ask in api.items()]
    routes += [
        Route("/api/version", _version),
        Route("/api/stream", partial(_stream, feeds=feeds)),
        Route("/api/history", partial(_history, pages=parts.pages)),
        Route("/api/extensions", partial(_extensions, kube=parts.kube)),
        Route("/api/tap/events", taps.events),
        Route("/api/tap/top", taps.top),
        WebSocketRoute("/api/tap", taps.socket),
        Route("/grafana/api/dashboards", boards.outlines),
        Route("/grafana/api/values", boards.values),
        Route("/grafana/api/panel", boards.panel),
        Route("/api/{rest:path}", _unknown),
        Route("/assets/{name}", shell.asset),
        Route("/{rest:path}", shell.page),
    ]
    app = Starlette(routes=routes)
    return _Guard(app, re.compile(enforced_host) if enforced_host else None)


def stat_request(query: Mapping[str, str]) -> pb.StatSummaryRequest:
    """Returns the request for the parameters of /api/tps-reports.

    Raises:
        UsageError: a parameter has no meaning.
    """
    kind = canonical(query.get("resource_type") or "deployment")
    everywhere = query.get("all_namespaces") == "true"
    namespace = "" if everywhere else query.get("namespace", "")
    name = query.get("resource_name", "")
    if kind == "namespace":
        name = name or namespace
    elif not namespace and not everywhere:
        namespace = "default"
    return client.stat_request(
        Target(kind, name),
        namespace,
        window=query.get("window") or "1m",
        to=_other(query, "to", namespace),
        from_=_other(query, "from", namespace),
        skip_stats=query.get("skip_stats") == "true",
        tcp_stats=query.get("tcp_stats") == "true",
    )


def _other(query: Mapping[str, str], end: str, namespace: str) -> pb.Resource | None:
    name, kind = query.get(f"{end}_name", ""), query.get(f"{end}_type", "")
    elsewhere = query.get(f"{end}_namespace", "")
    if not (name or kind or elsewhere):
        return None
    if not kind and not name:
        return pb.Resource(type="namespace", name=elsewhere)
    return pb.Resource(
        namespace=elsewhere or namespace, type=canonical(kind or "deployment"), name=name
    )


async def _pods(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    found = await client.list_pods(channel, query.get("namespace", ""))
    return pb.ListPodsResponse(pods=found)


async def _services(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    found = await client.list_services(channel, query.get("namespace", ""))
    return pb.ListServicesResponse(services=found)


async def _edges(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    kind = canonical(query.get("resource_type") or "deployment")
    found = await client.edges(channel, kind, query.get("namespace", ""))
    return pb.EdgesResponse(ok=pb.EdgesResponse.Ok(edges=found))


async def _routes(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    target = Target(
        canonical(query.get("resource_type") or "deployment"), query.get("resource_name", "")
    )
    namespace = query.get("namespace") or "default"
    found = await client.top_routes(
        channel,
        target,
        namespace,
        window=query.get("window") or "1m",
        to=_other(query, "to", namespace),
    )
    return pb.TopRoutesResponse(ok=pb.TopRoutesResponse.Ok(routes=found))


async def _gateways(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    table = await client.gateways(
        channel,
        query.get("remoteClusterName", ""),
        query.get("gatewayNamespace", ""),
        window=query.get("window") or "1m",
    )
    return pb.GatewaysResponse(ok=pb.GatewaysResponse.Ok(gateways_table=table))


async def _authz(channel: grpc.aio.Channel, query: Mapping[str, str]) -> Message:
    target = Target(
        canonical(query.get("resource_type") or "deployment"), query.get("resource_name", "")
    )
    namespace = query.get("namespace") or "default"
    rows = await client.authz(channel, target, namespace, window=query.get("window") or "1m")
    table = pb.StatTable(pod_group=pb.StatTable.PodGroup(rows=rows))
    return pb.AuthzResponse(ok=pb.AuthzResponse.Ok(stat_table=table))


async def _history(request: Request, pages: Pages) -> Response:
    """Series of one resource."""
    query = request.query_params
    selected = Object(
        query.get("kind", "namespace"), query.get("namespace", ""), query.get("name", "")
    )
    try:
        found = await pages.history(selected, query.get("range", "1h"))
    except UsageError as error:
        return JSONResponse({"error": error.message}, 400)
    except LinkerdError as error:
        return JSONResponse({"error": error.message}, 500)
    return JSONResponse(found, headers={"Cache-Control": "no-store"})


async def _extensions(request: Request, kube: KubeClient | None) -> Response:
    """The extensions that are installed: the one that is asked for, or all."""
    wanted = request.query_params.get("extension_name", "")
    if kube is None:
        return JSONResponse({"error": "the Kubernetes API is out of reach"}, 500)
    try:
        bodies = await kube.list(NAMESPACES, label_selector="linkerd.io/extension")
    except LinkerdError as error:
        return JSONResponse({"error": error.message}, 500)
    found = [
        {
            "name": body["metadata"]["labels"]["linkerd.io/extension"],
            "uid": body["metadata"].get("uid", ""),
            "namespace": body["metadata"]["name"],
        }
        for body in bodies
    ]
    if not wanted:
        return JSONResponse({"extensions": found})
    return JSONResponse({"data": next((one for one in found if one["name"] == wanted), {})})


class _Cache:
    """Answers of the last moments, so that many browsers ask metrics-api once."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, bytes]] = {}

    def get(self, key: str) -> bytes | None:
        until, body = self._entries.get(key, (0.0, b""))
        return body if time.monotonic() < until else None

    def put(self, key: str, body: bytes) -> None:
        while len(self._entries) >= _CACHE_MAX:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (time.monotonic() + _CACHE_S, body)


def _json(ask: Ask, cache: _Cache) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        key = f"{request.url.path}?{request.url.query}"
        body = cache.get(key)
        if body is None:
            try:
                message = await ask(request.query_params)
            except UsageError as error:
                return JSONResponse({"error": error.message}, 400)
            except LinkerdError as error:
                return JSONResponse({"error": error.message}, 500)
            data = MessageToDict(message, always_print_fields_with_no_presence=True)
            body = json.dumps(data).encode()
            cache.put(key, body)
        return Response(body, media_type="application/json")

    return answer


async def _version(request: Request) -> Response:
    return JSONResponse({"version": VERSION})


async def _unknown(request: Request) -> Response:
    return JSONResponse({"error": f"{request.url.path} is not served"}, 404)


async def _stream(request: Request, feeds: Feeds) -> Response:
    """Server-sent events `rows` and `trouble` of one view."""
    query = request.query_params
    try:
        asked = views.view(
            query.get("kind", "namespace"),
            query.get("namespace", ""),
            query.get("window", "1m"),
            page=query.get("page", "table"),
            name=query.get("name", ""),
        )
    except UsageError as error:
        return JSONResponse({"error": error.message}, 400)
    return StreamingResponse(
        events(asked, feeds),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def events(asked: views.View, feeds: Feeds) -> AsyncGenerator[bytes, None]:
    """Yields the server-sent events of one view."""
    try:
        async with aclosing(feeds.subscribe(asked)) as updates:
            async for update in updates:
                if update is None:
                    yield b": still here\n\n"
                else:
                    name, data = update
                    yield f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
    except LinkerdError as error:
        yield f"event: trouble\ndata: {json.dumps({'error': error.message})}\n\n".encode()


class _Shell:
    """The built page: one document for every path of the application, and its hashed files."""

    def __init__(self, static: Path) -> None:
        self._assets = static / "assets"
        index = static / "index.html"
        self._page = index.read_text() if index.is_file() else _NOT_BUILT
        names = self._assets.iterdir() if self._assets.is_dir() else ()
        self._names = frozenset(path.name for path in names)

    async def page(self, request: Request) -> Response:
        """The document, with the path below which a reverse proxy shows it."""
        prefix = request.headers.get("x-forwarded-prefix", "")
        base = prefix.rstrip("/") + "/" if _PREFIX.fullmatch(prefix) else "/"
        page = self._page.replace('<base href="/"', f'<base href="{html.escape(base)}"', 1)
        return Response(page, media_type="text/html", headers={"Cache-Control": "no-store"})

    async def asset(self, request: Request) -> Response:
        """A file whose name holds a hash of its content."""
        name = request.path_params["name"]
        if name not in self._names:
            return PlainTextResponse("not found\n", 404)
        return FileResponse(
            self._assets / name, headers={"Cache-Control": "public, max-age=31536000, immutable"}
        )


class _Guard:
    """Refuses foreign Host headers (DNS rebinding) and adds the security headers."""

    def __init__(self, app: ASGIApp, hosts: re.Pattern[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if self._hosts is not None and not self._hosts.search(host):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            refusal = PlainTextResponse(
                f"The host {host!r} of this request does not match {self._hosts.pattern} and is "
                "refused for security.\nSee https://linkerd.io/dns-rebinding for what that means "
                "and how to allow the host.\n",
                400,
            )
            await refusal(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)
