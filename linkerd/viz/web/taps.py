"""Taps for browsers: events and live tables as server-sent events, and Linkerd's WebSocket.

    GET /api/tap/events?resource=deploy/web&namespace=…   event `tap`: one JSON event
    GET /api/tap/top?…                                    event `top`: rows, once a second
    WebSocket /api/tap                                    Linkerd's protocol

A tap makes proxies work, so only pages of this origin may start one.
Source: linkerd2 web/srv/api_handlers.go (WebSocket fields, close codes).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from linkerd.errors import Forbidden, LinkerdError, UsageError
from linkerd.gen import viz_tap_pb2 as tap
from linkerd.kube.client import KubeClient
from linkerd.runtime import spawn
from linkerd.viz.tap import client, render, request
from linkerd.viz.tap.top import Row, Top

_HEARTBEAT_S = 10.0
_TOP_S = 1.0
_ROWS_MAX = 200
_STREAMS_MAX = 64
_REASON_BYTES_MAX = 123
_BAD_DATA, _POLICY, _INTERNAL = 1003, 1008, 1011
_MAX_RPS = 1000.0


def wish(query: Mapping[str, Any]) -> tap.TapByResourceRequest:
    """Returns the request for a page's parameters, which are those of Linkerd's WebSocket.

    Raises:
        UsageError: a parameter has no meaning.
    """

    def text(name: str) -> str:
        value = query.get(name) or ""
        if not isinstance(value, str) or len(value) > 512:
            raise UsageError(f"{name} is no short text")
        return value

    try:
        rps = float(query.get("maxRps") or request.DEFAULT_RPS)
    except (TypeError, ValueError):
        raise UsageError(f"maxRps {query.get('maxRps')!r} is no number") from None
    if not 0 < rps <= _MAX_RPS:
        raise UsageError(f"maxRps {rps:g} is not above 0 and at most {_MAX_RPS:g}")
    return request.build(
        [text("resource")],
        request.Wish(
            namespace=text("namespace") or "default",
            to=text("toResource"),
            to_namespace=text("toNamespace"),
            max_rps=rps,
            scheme=text("scheme"),
            method=text("method"),
            authority=text("authority"),
            path=text("path"),
            selector=text("labelSelector"),
            headers=query.get("extract") in (True, "true", "1"),
        ),
    )


def require_same_origin(connection: HTTPConnection, *, always: bool = False) -> None:
    """Requires that a page of ours asks.

    Args:
        connection: The request.
        always: An absent Origin is refused where the browser says that it comes from elsewhere.

    Raises:
        Forbidden: another site's page does.
    """
    origin = connection.headers.get("origin", "")
    if origin and urlsplit(origin).netloc != connection.headers.get("host", ""):
        raise Forbidden(f"origin {origin} may not tap")
    site = connection.headers.get("sec-fetch-site", "")
    if site not in ("", "same-origin", "none") and (always or not origin):
        raise Forbidden("pages of other sites may not tap")


class Taps:
    """Taps of this process on behalf of browsers.

    Args:
        kube: The dashboard's own right to tap is every visitor's; None leaves tap out.
    """

    def __init__(self, kube: KubeClient | None) -> None:
        self._kube = kube
        self._running = 0

    async def events(self, asked: Request) -> Response:
        """Streams events of a tap."""
        return self._answer(asked, _each)

    async def top(self, asked: Request) -> Response:
        """Streams a table of requests, once a second."""
        return self._answer(asked, _tables)

    def _answer(self, asked: Request, shape: Any) -> Response:
        try:
            require_same_origin(asked, always=True)
            wanted = wish(asked.query_params)
            if self._running >= _STREAMS_MAX:
                raise UsageError(f"{_STREAMS_MAX} taps are running already")
        except Forbidden as error:
            return JSONResponse({"error": error.message}, 403)
        except LinkerdError as error:
            return JSONResponse({"error": error.message}, 400)
        return StreamingResponse(
            self._stream(wanted, shape),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _stream(
        self, wanted: tap.TapByResourceRequest, shape: Any
    ) -> AsyncGenerator[bytes, None]:
        self._running += 1
        try:
            # An answer at once, so that the page knows that it is connected.
            yield b": tapping\n\n"
            async with aclosing(shape(self._queue(wanted))) as messages:
                async for message in messages:
                    yield message
        except LinkerdError as error:
            text = json.dumps({"error": error.message, "hint": error.hint or ""})
            yield f"event: trouble\ndata: {text}\n\n".encode()
        finally:
            self._running -= 1

    async def _queue(
        self, wanted: tap.TapByResourceRequest
    ) -> AsyncGenerator[tap.TapEvent | None, None]:
        """Yields events; None after a while without."""
        if self._kube is None:
            raise UsageError("this dashboard may not tap")
        queue: asyncio.Queue[tap.TapEvent | LinkerdError | None] = asyncio.Queue(1024)
        tasks: set[asyncio.Task[Any]] = set()

        async def fill(kube: KubeClient) -> None:
            end: LinkerdError | None = None
            try:
                async with client.events(kube, wanted) as events:
                    async for event in events:
                        await queue.put(event)
            except LinkerdError as error:
                end = error
            await queue.put(end)

        spawn(fill(self._kube), name="tap", into=tasks)
        try:
            while True:
                try:
                    async with asyncio.timeout(_TOP_S):
                        event = await queue.get()
                except TimeoutError:
                    yield None
                    continue
                if event is None:
                    return
                if isinstance(event, LinkerdError):
                    raise event
                yield event
        finally:
            for task in list(tasks):
                task.cancel()

    async def socket(self, socket: WebSocket) -> None:
        """Serves Linkerd's protocol: the request as one text message, then an event per message."""
        try:
            require_same_origin(socket)
        except Forbidden as error:
            await socket.close(_POLICY, error.message)
            return
        await socket.accept()
        try:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is None:
                await socket.close(_BAD_DATA, "expected a text message")
                return
            document = json.loads(message["text"])
            if not isinstance(document, dict):
                raise UsageError("the request is no JSON object")
            await self._talk(socket, wish(document))
        except (ValueError, LinkerdError) as error:
            code = _POLICY if isinstance(error, Forbidden) else _INTERNAL
            reason = error.message if isinstance(error, LinkerdError) else f"no JSON: {error}"
            short = reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore")
            await socket.close(code, short)
        except WebSocketDisconnect:
            pass  # the browser has seen enough

    async def _talk(self, socket: WebSocket, wanted: tap.TapByResourceRequest) -> None:
        async def left() -> None:
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass

        async def send() -> None:
            async with aclosing(self._queue(wanted)) as events:
                async for event in events:
                    if event is not None:
                        await socket.send_text(json.dumps(render.document(event)))

        failure: LinkerdError | None = None

        async def guarded() -> None:
            nonlocal failure
            try:
                await send()
            except LinkerdError as error:
                failure = error

        async with asyncio.TaskGroup() as group:
            tasks = (group.create_task(left()), group.create_task(guarded()))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = tasks[1].done()
            for task in tasks:
                task.cancel()
        if failure is not None:
            raise failure
        if ended:
            await socket.close()


Events = AsyncGenerator["tap.TapEvent | None", None]


async def _each(events: Events) -> AsyncGenerator[bytes, None]:
    silence_s = 0.0
    async with aclosing(events):
        async for event in events:
            if event is not None:
                silence_s = 0.0
                yield f"event: tap\ndata: {json.dumps(render.document(event))}\n\n".encode()
                continue
            silence_s += _TOP_S
            if silence_s >= _HEARTBEAT_S:
                silence_s = 0.0
                yield b": still here\n\n"


async def _tables(events: Events) -> AsyncGenerator[bytes, None]:
    top, loop = Top(), asyncio.get_running_loop()
    due = loop.time()
    async with aclosing(events):
        async for event in events:
            if event is not None:
                top.take(event)
            if loop.time() >= due:
                due = loop.time() + _TOP_S
                rows = [row_of(row) for row in list(top.rows())[:_ROWS_MAX]]
                yield f"event: top\ndata: {json.dumps({'rows': rows})}\n\n".encode()


def row_of(row: Row) -> dict[str, Any]:
    """Returns a row of the live table; times in milliseconds."""
    return {
        "source": row.key.source,
        "destination": row.key.destination,
        "method": row.key.method,
        "path": row.key.path,
        "count": row.count,
        "success": row.success_rate,
        "best": row.best_s * 1000,
        "worst": row.worst_s * 1000,
        "last": row.last_s * 1000,
    }
