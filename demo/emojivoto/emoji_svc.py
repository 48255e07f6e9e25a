"""emoji-svc: knows the hundred emoji. Source: BuoyantIO/emojivoto emojivoto-emoji-svc (behaviour)."""

from __future__ import annotations

from . import emoji, rpc, settings
from .gen import emojivoto_pb2 as pb


def methods() -> dict[str, rpc.Method]:
    """Returns the methods of `emojivoto.v1.EmojiService`."""
    everything = pb.ListAllEmojiResponse(
        list=[pb.Emoji(unicode=text, shortcode=code) for _, code, text in emoji.EMOJI]
    )

    async def list_all(_: pb.ListAllEmojiRequest) -> pb.ListAllEmojiResponse:
        return everything

    async def find(request: pb.FindByShortcodeRequest) -> pb.FindByShortcodeResponse:
        text = emoji.UNICODE.get(request.Shortcode)
        if text is None:
            return pb.FindByShortcodeResponse()
        return pb.FindByShortcodeResponse(Emoji=pb.Emoji(unicode=text, shortcode=request.Shortcode))

    return {
        "ListAll": (pb.ListAllEmojiRequest, list_all),
        "FindByShortcode": (pb.FindByShortcodeRequest, find),
    }


async def main() -> None:
    """Serves on `GRPC_PORT`, metrics on `PROM_PORT`."""
    grpc_port, prom_port = settings.port("GRPC_PORT"), settings.port("PROM_PORT", 8801)
    await rpc.serve("EmojiService", methods(), rpc.Metrics(), grpc_port, prom_port)
