"""Listen to a traffic stream.

Examples:
  # Listen to the web deployment of the emojivoto namespace.
  linkerd viz tap deploy/web -n emojivoto

  # Only its calls to the voting deployment.
  linkerd viz tap deploy/web --to deploy/voting -n emojivoto

  # Everything in a namespace, as JSON with headers.
  linkerd viz tap ns/emojivoto -o json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linkerd.gen import viz_tap_pb2
    from linkerd.kube.client import KubeClient

SUMMARY = "Listen to a traffic stream"
USAGE = "(RESOURCE)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz import _tap

    _tap.add_flags(parser)
    parser.add_argument(
        "-o", "--output", default="", metavar="FORMAT",
        help="output format, one of: wide, json, jsonpath=TEMPLATE (default one line per event)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Prints events until Ctrl-C or until the API ends the stream."""
    from linkerd.cli import _connect
    from linkerd.cli.viz import _tap

    shown, headers = _renderer(args.output)
    config = _connect.config(args)
    wanted = _tap.request(args, config, headers=headers)
    _connect.run(config, lambda kube: _print(kube, wanted, shown))
    return 0


def _renderer(output: str) -> tuple[Callable[[viz_tap_pb2.TapEvent], str], bool]:
    """Returns how to print an event, and whether headers are asked for."""
    from linkerd.cli import _jsonpath
    from linkerd.errors import UsageError
    from linkerd.viz.tap import render

    if output in ("", "wide"):
        return lambda event: render.line(event, wide=output == "wide"), False
    if output == "json":
        return render.as_json, True
    kind, equals, template = output.partition("=")
    if kind == "jsonpath" and equals:
        fill = _jsonpath.compile(template)
        return lambda event: fill(render.document(event)), True
    raise UsageError(f"output format {output!r} not recognized: use wide, json or jsonpath=…")


async def _print(
    kube: KubeClient,
    wanted: viz_tap_pb2.TapByResourceRequest,
    shown: Callable[[viz_tap_pb2.TapEvent], str],
) -> None:
    from linkerd.viz.tap import client

    async with client.events(kube, wanted) as events:
        async for event in events:
            print(shown(event), flush=True)
