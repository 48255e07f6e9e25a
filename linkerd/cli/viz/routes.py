"""Display route stats.

Routes are those of ServiceProfiles; `stat-inbound` and `stat-outbound` know HTTPRoutes and
GRPCRoutes.

Examples:
  # Routes of the webapp service.
  linkerd viz routes service/webapp -n booksapp

  # Routes of the books service as the webapp deployment sees them.
  linkerd viz routes deploy/webapp --to svc/books -n booksapp
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.gen import viz_pb2 as pb
    from linkerd.kube.client import KubeClient
    from linkerd.viz.kinds import Target

SUMMARY = "Display route stats"
USAGE = "(RESOURCE)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags

    parser.add_argument("resources", nargs="*", metavar="RESOURCE", help="TYPE or TYPE/NAME")
    parser.add_argument(
        "-t", "--time-window", default="1m", metavar="TIME", help="stat window (default 1m)"
    )
    parser.add_argument("--to", metavar="RESOURCE", help="routes of this as the resource sees them")
    parser.add_argument("--to-namespace", metavar="NS", help="namespace of --to")
    parser.add_argument("-l", "--selector", default="", help="label selector")
    _args.add_namespace(parser, "namespace of the resource")
    _args.add_output(parser, ("table", "wide", "json"))
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a table per resource, or JSON."""
    from linkerd.cli import _connect
    from linkerd.viz import kinds, routes

    found = kinds.targets(args.resources)
    if len(found) != 1 or found[0].kind == kinds.ALL:
        raise UsageError("routes takes one resource: TYPE or TYPE/NAME")
    wide = args.output == "wide"
    if wide and not args.to:
        raise UsageError("wide output is only available when --to is specified")
    config = _connect.config(args)
    namespace = _connect.namespace(args, config) or ""
    tables = _connect.run(config, lambda kube: _tables(kube, args, found[0], namespace))
    if args.output == "json":
        print(routes.as_json(tables, wide=bool(args.to)), end="")
    else:
        print(routes.text(tables, wide=wide), end="")
    return 0


async def _tables(
    kube: KubeClient, args: argparse.Namespace, target: Target, namespace: str
) -> Sequence[pb.RouteTable]:
    from linkerd.cli.viz import _extension, _flags
    from linkerd.viz import client

    args.source = args.source_namespace = None
    to, _ = _flags.peers(args, namespace)
    async with _extension.metrics_api(kube, args) as channel:
        return await client.top_routes(
            channel,
            target,
            namespace,
            window=args.time_window,
            to=to,
            label_selector=args.selector,
        )
