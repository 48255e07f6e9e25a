"""The built page: one document for every path of the application, and its hashed files."""

from __future__ import annotations

import gzip
import html
import mimetypes
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

_PREFIX = re.compile(r"(/[A-Za-z0-9_.-]+)*/?")
_PLAIN = re.compile(r"\.(png|woff2)$")

_NOT_BUILT = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Linkerd viz</title>'
    "<h1>The dashboard is not built</h1>"
    "<p>Run <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code>. "
    'The API works without it: <a href="api/version">api/version</a>.</p></html>'
)

Facts = Callable[[], Awaitable[Mapping[str, str]]]
"""What the page should know before its first request, by name of a data attribute."""


class Shell:
    """Serves the page.

    Files are compressed once, at the start.

    Args:
        static: Folder of the built page; may be missing.
        facts: Asked for each document.
    """

    def __init__(self, static: Path, facts: Facts) -> None:
        self._facts = facts
        index = static / "index.html"
        self._page = index.read_text() if index.is_file() else _NOT_BUILT
        assets = static / "assets"
        paths = sorted(assets.iterdir()) if assets.is_dir() else []
        self._files = {path.name: path.read_bytes() for path in paths}
        self._packed = {
            name: gzip.compress(body, mtime=0)
            for name, body in self._files.items()
            if not _PLAIN.search(name)
        }

    async def page(self, request: Request) -> Response:
        """The document, with the path below which a reverse proxy shows it."""
        prefix = request.headers.get("x-forwarded-prefix", "")
        base = prefix.rstrip("/") + "/" if _PREFIX.fullmatch(prefix) else "/"
        page = self._page.replace('<base href="/"', f'<base href="{html.escape(base)}"', 1)
        facts = (await self._facts()).items()
        data = "".join(f' data-{name}="{html.escape(value)}"' for name, value in facts)
        page = page.replace('<div id="main"', f'<div id="main"{data}', 1)
        return Response(page, media_type="text/html", headers={"Cache-Control": "no-store"})

    async def asset(self, request: Request) -> Response:
        """A file whose name holds a hash of its content."""
        name = request.path_params["name"]
        if name not in self._files:
            return PlainTextResponse("not found\n", 404)
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable",
            "Vary": "Accept-Encoding",
        }
        body = self._files[name]
        if name in self._packed and "gzip" in request.headers.get("accept-encoding", ""):
            body = self._packed[name]
            headers["Content-Encoding"] = "gzip"
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(body, media_type=kind, headers=headers)
