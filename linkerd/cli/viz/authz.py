"""Display stats for authorizations.

Shows which authorization let traffic in, and what was turned away.

Examples:
  # All pods of the voting deployment.
  linkerd viz authz deploy/voting -n emojivoto

  # A whole namespace.
  linkerd viz authz ns/emojivoto
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient
    from linkerd.viz.kinds import Target
    from linkerd.viz.stat import Row

SUMMARY = "Display stats for authorizations"
USAGE = "(RESOURCE)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags

    parser.add_argument("resources", nargs="*", metavar="RESOURCE", help="TYPE or TYPE/NAME")
    parser.add_argument(
        "-t", "--time-window", default="1m", metavar="TIME", help="stat window (default 1m)"
    )
    parser.add_argument("-l", "--selector", default="", help="accepted for compatibility")
    _args.add_namespace(parser, "namespace of the resource")
    _args.add_output(parser, ("table", "json", "wide"))
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a table, or JSON."""
    from linkerd.cli import _connect
    from linkerd.viz import authz, kinds, render

    found = kinds.targets(args.resources)
    if len(found) != 1 or found[0].kind == kinds.ALL:
        raise UsageError("authz takes one resource: TYPE or TYPE/NAME")
    config = _connect.config(args)
    namespace = _connect.namespace(args, config) or ""
    rows = _connect.run(config, lambda kube: _rows(kube, args, found[0], namespace))
    if args.output == "json":
        print(authz.as_json(rows), end="")
    elif rows:
        print(authz.table(rows), end="")
    else:
        print(render.NO_TRAFFIC, file=sys.stderr)
    return 0


async def _rows(
    kube: KubeClient, args: argparse.Namespace, target: Target, namespace: str
) -> Sequence[Row]:
    from linkerd.cli.viz import _extension
    from linkerd.viz import client

    async with _extension.metrics_api(kube, args) as channel:
        return await client.authz(channel, target, namespace, window=args.time_window)
