"""Display traffic stats about one or many resources.

Examples:
  # Get all deployments in the emojivoto namespace.
  linkerd viz stat deploy -n emojivoto

  # Get the web deployment's calls to the voting deployment.
  linkerd viz stat deploy/web --to deploy/voting -n emojivoto

  # Get all namespaces.
  linkerd viz stat ns
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient
    from linkerd.viz.stat import Row

SUMMARY = "Display traffic stats about one or many resources"
USAGE = "(RESOURCES)"
_WINDOW_MIN_S = 15.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags, add_peer

    parser.add_argument("resources", nargs="*", metavar="RESOURCE", help="TYPE, TYPE/NAME or all")
    parser.add_argument(
        "-t", "--time-window", default="1m", metavar="TIME", help="stat window (default 1m)"
    )
    add_peer(parser)
    parser.add_argument("-l", "--selector", default="", help="label selector")
    parser.add_argument(
        "--unmeshed", action="store_true", help="show resources without meshed pods too"
    )
    _args.add_namespace(parser, "namespace of the resources", all=True)
    _args.add_output(parser, ("table", "json", "wide"))
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a table per kind, or JSON."""
    if _args.duration(args.time_window) < _WINDOW_MIN_S:
        raise UsageError("metrics time window needs to be at least 15s")
    from linkerd.cli import _connect
    from linkerd.viz import render

    config = _connect.config(args)
    namespace = _connect.namespace(args, config, all=True) or ""
    rows = _connect.run(config, lambda kube: _rows(kube, args, namespace))
    shown = render.shown(rows, unmeshed=args.unmeshed, from_=bool(args.source))
    if args.output == "json":
        print(render.stat_json(shown), end="")
    elif shown:
        wide = args.output == "wide"
        print(render.stat_table(shown, all_namespaces=args.all_namespaces, wide=wide), end="")
    else:
        print(render.NO_TRAFFIC, file=sys.stderr)
    return 0


async def _rows(kube: KubeClient, args: argparse.Namespace, namespace: str) -> list[Row]:
    import asyncio

    from linkerd.cli.viz import _extension, _flags
    from linkerd.viz import client

    targets = _flags.targets(args)
    to, from_ = _flags.peers(args, namespace)
    async with _extension.metrics_api(kube, args) as channel:
        answers = await asyncio.gather(
            *(
                client.stat_summary(
                    channel,
                    target,
                    namespace,
                    window=args.time_window,
                    to=to,
                    from_=from_,
                    label_selector=args.selector,
                )
                for target in targets
            )
        )
    return [row for rows in answers for row in rows]
