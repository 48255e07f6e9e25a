"""What stands before every request: the Host header is ours, and answers carry strict headers.

Source: linkerd2 web/srv/server.go (host check, its status and where it sends people).
"""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

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


class Guard:
    """Refuses foreign Host headers (DNS rebinding) and adds the security headers.

    Args:
        app: What is guarded.
        hosts: What Host has to match; None allows all.
        foreign: Path below which another program answers, with headers of its own; may be empty.
    """

    def __init__(self, app: ASGIApp, hosts: re.Pattern[str] | None, foreign: str = "") -> None:
        self._app = app
        self._hosts = hosts
        self._foreign = foreign

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a refusal itself, passes everything else on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        own = not self._foreign or not scope["path"].startswith(self._foreign)

        async def guarded(message: Any) -> None:
            if own and message["type"] == "http.response.start":
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
