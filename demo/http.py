"""A small HTTP/1.1 server for the demo programs: h11 reads and writes, asyncio carries.

No routing, no streaming, no TLS: a function from request to response. Bodies of requests are read
and dropped, at most `_BODY_BYTES_MAX`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import h11

_BODY_BYTES_MAX = 1 << 20
_IDLE_S = 600.0


class Request(NamedTuple):
    """The head of a request: method, path without query, first value of each query key."""

    method: str
    path: str
    query: dict[str, str]


class Response(NamedTuple):
    """Status, body and content type."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


def as_json(value: Any, status: int = 200) -> Response:
    """Returns `value` as a JSON response."""
    return Response(status, json.dumps(value).encode(), "application/json")


async def serve(handler: Handler, host: str, port: int) -> asyncio.Server:
    """Listens on `host:port` (port 0: any) and answers every request by `handler`."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
            await _converse(handler, reader, writer)
        writer.close()

    return await asyncio.start_server(connected, host, port)


async def _converse(
    handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    connection = h11.Connection(h11.SERVER)
    while True:
        try:
            head = await _next_request(connection, reader)
        except h11.RemoteProtocolError as error:
            await _answer(connection, writer, Response(error.error_status_hint, b"bad request\n"))
            return
        if head is None:
            return
        target = urlsplit(head.target.decode("ascii", "replace"))
        query = {key: values[0] for key, values in parse_qs(target.query).items()}
        response = await handler(Request(head.method.decode(), target.path, query))
        await _answer(connection, writer, response, head_only=head.method == b"HEAD")
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


async def _next_request(
    connection: h11.Connection, reader: asyncio.StreamReader
) -> h11.Request | None:
    """Returns the next request after its body was read; None when the client is done."""
    head: h11.Request | None = None
    body_bytes = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            async with asyncio.timeout(_IDLE_S):
                connection.receive_data(await reader.read(16384))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body_bytes += len(event.data)
            if body_bytes > _BODY_BYTES_MAX:
                raise h11.RemoteProtocolError("request body too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            return head
        else:
            return None


async def _answer(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    response: Response,
    *,
    head_only: bool = False,
) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    headers = [
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        *response.headers,
    ]
    reason = HTTPStatus(response.status).phrase
    head = h11.Response(status_code=response.status, headers=headers, reason=reason)
    data = connection.send(head) or b""
    if not head_only:
        data += connection.send(h11.Data(data=response.body)) or b""
    writer.write(data + (connection.send(h11.EndOfMessage()) or b""))
    await writer.drain()
