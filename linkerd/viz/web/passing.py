"""Passes requests below /grafana on to a Grafana inside the cluster.

Bodies are streamed in both directions. WebSockets are not passed: Grafana then polls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from linkerd.errors import Forbidden
from linkerd.viz.web.taps import require_same_origin

_TIMEOUT_S = 30.0
_CONNECTIONS_MAX = 64
_SAFE = ("GET", "HEAD", "OPTIONS")
# They are about one connection (RFC 9110 §7.6.1), or would tell Grafana of a host that it is not.
_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "origin",
        "content-length",
    )
)


class Passing:
    """One Grafana; use as an async context manager.

    Args:
        address: Host and port, or a URL.
    """

    def __init__(self, address: str) -> None:
        url = address if "://" in address else f"http://{address}"
        self._http = httpx2.AsyncClient(
            base_url=url.rstrip("/"),
            timeout=_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=_CONNECTIONS_MAX),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def answer(self, request: Request) -> Response:
        """Returns what Grafana answers."""
        if request.method not in _SAFE:
            try:
                require_same_origin(request, always=True)
            except Forbidden as error:
                return JSONResponse({"error": error.message}, 403)
        headers = [(k, v) for k, v in request.headers.items() if k not in _HOP]
        headers += [
            ("x-forwarded-host", request.headers.get("host", "")),
            ("x-forwarded-proto", request.url.scheme),
        ]
        path = request.scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
        query = request.url.query
        built = self._http.build_request(
            request.method,
            f"{path}?{query}" if query else path,
            headers=headers,
            content=None if request.method in _SAFE else request.stream(),
        )
        try:
            answer = await self._http.send(built, stream=True)
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            return JSONResponse({"error": f"grafana is out of reach: {reason}"}, 502)
        passed = StreamingResponse(_body(answer), answer.status_code)
        passed.raw_headers = [
            (name.lower(), value)
            for name, value in answer.headers.raw
            if name.lower().decode() not in _HOP
        ]
        return passed


async def _body(answer: httpx2.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx2.HTTPError:
        pass  # Grafana went away in the middle: the answer ends
    finally:
        await answer.aclose()
