"""The tap API's client, for the CLI and the dashboard.

Source: linkerd2 viz/tap/pkg/client.go, pkg/protohttp (which error wins).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError

from linkerd.errors import KubeError, MetricsError, WireError
from linkerd.gen import viz_pb2 as viz
from linkerd.gen import viz_tap_pb2 as tap
from linkerd.kube.client import KubeClient
from linkerd.kube.http import Streamed
from linkerd.viz.tap import framing, request


@contextlib.asynccontextmanager
async def events(
    kube: KubeClient, wanted: tap.TapByResourceRequest
) -> AsyncIterator[AsyncIterator[tap.TapEvent]]:
    """Lends the stream of events of a tap; leaving the context ends the tap.

    Raises:
        Forbidden: the user may not tap that.
        MetricsError: the tap API refused, with its reason.
        KubeError: the API is out of reach.
    """
    path = request.path_of(wanted)
    try:
        async with kube.open("POST", path, None, wanted.SerializeToString()) as stream:
            if framing.ERROR_HEADER in stream.headers:
                raise MetricsError(await _reason(stream))
            yield _decoded(stream)
    except KubeError as error:
        raise _translated(error) from None


async def _decoded(stream: Streamed) -> AsyncIterator[tap.TapEvent]:
    frames = framing.Frames()
    async for chunk in stream.chunks():
        for message in frames.feed(chunk):
            try:
                yield tap.TapEvent.FromString(message)
            except DecodeError:
                raise WireError("the tap API sent something that is no event") from None


async def _reason(stream: Streamed) -> str:
    frames = framing.Frames()
    async for chunk in stream.chunks():
        for message in frames.feed(chunk):
            with contextlib.suppress(DecodeError):
                return viz.ApiError.FromString(message).error
    return stream.headers[framing.ERROR_HEADER]


def _translated(error: KubeError) -> KubeError:
    """The same error with a hint when there is no such API."""
    if error.status in (404, 503):
        error.hint = "is the viz extension installed and running? see `linkerd viz check`"
    return error
