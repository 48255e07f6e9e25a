"""Display connections between resources, and Linkerd proxy identities.

Examples:
  # Get all edges between deployments of the emojivoto namespace.
  linkerd viz edges deploy -n emojivoto

  # Get all edges between pods of all namespaces.
  linkerd viz edges po --all-namespaces
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.gen import viz_pb2 as pb
    from linkerd.kube.client import KubeClient

SUMMARY = "Display connections between resources, and Linkerd proxy identities"
USAGE = "(RESOURCETYPE)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags

    parser.add_argument("resources", nargs="*", metavar="TYPE", help="for instance deploy")
    _args.add_namespace(parser, "namespace of the resources", all=True)
    _args.add_output(parser, ("table", "json", "wide"))
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a table, or JSON."""
    from linkerd.cli import _connect
    from linkerd.viz import kinds, render

    targets = kinds.targets(args.resources)
    if targets[0].name or len(targets) > 1:
        name = targets[0].name
        raise UsageError(
            f"Edges cannot be returned for a specific resource name; remove {name} from query"
        )
    if targets[0].kind in ("service", kinds.ALL):
        raise UsageError(f"Resource type is not supported: {targets[0].kind}")
    config = _connect.config(args)
    namespace = _connect.namespace(args, config, all=True) or ""
    found = _connect.run(config, lambda kube: _edges(kube, args, targets[0].kind, namespace))
    if args.output == "json":
        print(render.edges_json(found), end="")
    elif found:
        print(render.edges_table(found, wide=args.output == "wide"), end="")
    else:
        print(render.NO_EDGES, file=sys.stderr)
    return 0


async def _edges(
    kube: KubeClient, args: argparse.Namespace, kind: str, namespace: str
) -> list[pb.Edge]:
    from linkerd.cli.viz import _extension
    from linkerd.viz import client

    async with _extension.metrics_api(kube, args) as channel:
        return await client.edges(channel, kind, namespace)
