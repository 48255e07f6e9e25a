"""web: the page and its HTTP API over emoji-svc and voting-svc.

Voting is a GET with a side effect, and the leaderboard asks for each row's emoji by a call of its
own, because the original does: the mesh's pictures depend on it.
Source: BuoyantIO/emojivoto emojivoto-web/web/web.go (behaviour).
"""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from .. import http  # noqa: TID252 - the package is installed as linkerd._demo
from . import emoji, rpc, settings
from .gen import emojivoto_pb2 as pb

M = TypeVar("M", bound=Message)
_STATIC = Path(__file__).parent / "static"
_SCRIPT = "text/javascript; charset=utf-8"


class Backends:
    """Calls to the two gRPC services over one channel each.

    Args:
        emoji_host: `host:port` of emoji-svc.
        voting_host: `host:port` of voting-svc.
    """

    def __init__(self, emoji_host: str, voting_host: str) -> None:
        self._channels = {
            "EmojiService": grpc.aio.insecure_channel(emoji_host, options=rpc.OPTIONS),
            "VotingService": grpc.aio.insecure_channel(voting_host, options=rpc.OPTIONS),
        }

    async def call(self, service: str, method: str, request: Message, response: type[M]) -> M:
        """Returns the reply; raises `grpc.aio.AioRpcError`."""
        call: Any = self._channels[service].unary_unary(
            f"/{rpc.PACKAGE}.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        reply: M = await call(request, timeout=10.0)
        return reply

    async def find(self, shortcode: str) -> pb.Emoji | None:
        """Returns an emoji; None when there is none of that name."""
        request = pb.FindByShortcodeRequest(Shortcode=shortcode)
        reply = await self.call(
            "EmojiService", "FindByShortcode", request, pb.FindByShortcodeResponse
        )
        return reply.Emoji if reply.HasField("Emoji") else None

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            await channel.close()


class Web:
    """Answers the page, its assets and `/api/*`."""

    def __init__(self, backends: Backends, message_of_the_day: str = "") -> None:
        self._backends = backends
        page = (_STATIC / "index.html").read_text()
        self._page = page.replace("{motd}", html.escape(message_of_the_day)).encode()
        self._script = (_STATIC / "app.js").read_bytes()
        self._icon = (_STATIC / "favicon.svg").read_bytes()

    async def __call__(self, request: http.Request) -> http.Response:
        """Returns the response; a failed call becomes 500 with the call's status as text."""
        try:
            match request.path:
                case "/api/list":
                    return await self._list()
                case "/api/vote":
                    return await self._vote(request.query.get("choice", ""))
                case "/api/leaderboard":
                    return await self._leaderboard()
        except grpc.aio.AioRpcError as error:
            code = error.code().name.title().replace("_", "")
            text = f"rpc error: code = {code} desc = {error.details()}"
            return http.as_json({"error": text}, 500)
        return self._asset(request.path)

    def _asset(self, path: str) -> http.Response:
        if path in ("/", "/leaderboard"):
            return http.Response(200, self._page, "text/html; charset=utf-8")
        if path == "/js" or path.startswith("/dist/"):
            return http.Response(200, self._script, _SCRIPT)
        if path in ("/img/favicon.ico", "/favicon.ico"):
            return http.Response(200, self._icon, "image/svg+xml")
        return http.Response(404, b"404 page not found\n")

    async def _list(self) -> http.Response:
        request = pb.ListAllEmojiRequest()
        reply = await self._backends.call(
            "EmojiService", "ListAll", request, pb.ListAllEmojiResponse
        )
        return http.as_json([{"shortcode": e.shortcode, "unicode": e.unicode} for e in reply.list])

    async def _vote(self, choice: str) -> http.Response:
        if not choice:
            error = f"Emoji choice [{choice}] is mandatory"
            return http.as_json({"error": error}, 400)
        found = await self._backends.find(choice)
        if found is None:
            return http.as_json({"error": f"Choosen emoji shortcode [{choice}] doesnt exist"}, 400)
        await self._backends.call(
            "VotingService", emoji.RPC[found.shortcode], pb.VoteRequest(), pb.VoteResponse
        )
        return http.Response()

    async def _leaderboard(self) -> http.Response:
        reply = await self._backends.call(
            "VotingService", "Results", pb.ResultsRequest(), pb.ResultsResponse
        )
        rows = []
        for result in reply.results:
            found = await self._backends.find(result.Shortcode)
            if found is not None:
                rows.append(
                    {
                        "votes": str(result.Votes),
                        "unicode": found.unicode,
                        "shortcode": found.shortcode,
                    }
                )
        return http.as_json(rows)


async def main() -> None:
    """Serves on `WEB_PORT` over `EMOJISVC_HOST` and `VOTINGSVC_HOST`."""
    port = settings.port("WEB_PORT")
    backends = Backends(settings.required("EMOJISVC_HOST"), settings.required("VOTINGSVC_HOST"))
    web = Web(backends, os.environ.get("MESSAGE_OF_THE_DAY", ""))
    stop = rpc.until_signal()
    server = await http.serve(web, "", port)
    print(f"Starting web server on WEB_PORT=[{port}]", flush=True)
    await stop.wait()
    server.close()
    await backends.close()
