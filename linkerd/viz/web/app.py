"""HTTP of the dashboard: the page, its files, Linkerd's JSON API, live streams and dashboards.

Every answer carries a strict content security policy; nothing on the page comes from elsewhere.
Source: linkerd2 web/srv/server.go (paths).
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc.aio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from linkerd import VERSION
from linkerd.errors import LinkerdError, UsageError
from linkerd.viz.queries import Object
from linkerd.viz.web import statistics, views
from linkerd.viz.web.boards import Boards
from linkerd.viz.web.feed import Feeds, event
from linkerd.viz.web.guard import Guard
from linkerd.viz.web.objects import Objects
from linkerd.viz.web.pages import Pages
from linkerd.viz.web.passing import Passing
from linkerd.viz.web.shell import Shell
from linkerd.viz.web.taps import Taps

_GRAFANA = "/grafana"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@dataclass(frozen=True)
class Parts:
    """What answers requests; the defaults are those of a dashboard without a cluster."""

    channel: grpc.aio.Channel
    feeds: Feeds
    pages: Pages
    objects: Objects = field(default_factory=lambda: Objects(None))
    taps: Taps = field(default_factory=lambda: Taps(None))
    boards: Boards = field(default_factory=lambda: Boards(None))

    passing: Passing | None = None
    """A Grafana that answers below /grafana instead of our viewer."""

    facts: Mapping[str, str] = field(default_factory=dict)
    """What the page is told, by name of a data attribute."""


def create(parts: Parts, static: Path, enforced_host: str) -> ASGIApp:
    """Returns the application.

    Args:
        parts: What answers.
        static: Folder of the built page; may be missing.
        enforced_host: Regular expression that Host has to match; empty allows all.
    """

    async def facts() -> Mapping[str, str]:
        tap = "true" if await parts.objects.may_tap() else "false"
        return {"release-version": VERSION, **parts.facts, "tap": tap}

    shell = Shell(static, facts)
    objects, taps, boards = parts.objects, parts.taps, parts.boards
    routes: list[BaseRoute] = [
        *statistics.routes(parts.channel),
        Route("/api/version", _version),
        Route("/api/stream", partial(_stream, feeds=parts.feeds)),
        Route("/api/history", partial(_history, pages=parts.pages)),
        Route("/api/extensions", objects.extensions),
        Route("/api/resource-definition", objects.definition),
        Route("/api/check", objects.check),
        Route("/profiles/new", objects.profile),
        Route("/api/tap/events", taps.events),
        Route("/api/tap/top", taps.top),
        WebSocketRoute("/api/tap", taps.socket),
    ]
    if parts.passing is not None:
        routes += [
            Route(_GRAFANA, _to_grafana),
            Route(_GRAFANA + "/{rest:path}", parts.passing.answer, methods=_METHODS),
        ]
    else:
        routes += [
            Route("/grafana/api/dashboards", boards.outlines),
            Route("/grafana/api/values", boards.values),
            Route("/grafana/api/panel", boards.panel),
        ]
    routes += [
        Route("/api/{rest:path}", _unknown),
        Route("/assets/{name}", shell.asset),
        Route("/{rest:path}", shell.page),
    ]
    hosts = re.compile(enforced_host) if enforced_host else None
    return Guard(Starlette(routes=routes), hosts, _GRAFANA + "/" if parts.passing else "")


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


async def _version(request: Request) -> Response:
    return JSONResponse({"version": VERSION})


async def _to_grafana(request: Request) -> Response:
    # Relative, so that it is right below a path prefix too.
    return RedirectResponse("grafana/")


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
                yield b": still here\n\n" if update is None else update
    except LinkerdError as error:
        yield event("trouble", {"error": error.message})
