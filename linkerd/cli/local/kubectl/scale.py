"""Set how many pods a workload has.

Example:
  linkerd local kubectl scale deploy/web --replicas 3 -n emojivoto
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linkerd.cli import _args

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Set how many pods a workload has"
USAGE = "TYPE/NAME... --replicas N"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="+", metavar="TYPE/NAME", help="for instance deploy/web")
    parser.add_argument("--replicas", type=int, required=True, metavar="N", help="how many")
    _args.add_namespace(parser, "namespace of the workload")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Sets it."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _objects

    config = _cluster.config(args)
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        for one in await _objects.find(kube, args.words, namespace):
            patch = {"spec": {"replicas": args.replicas}}
            await kube.patch(one.resource, one.name, patch, one.namespace, subresource="scale")
            print(f"{one} scaled")
        return 0

    return _connect.run(config, main)
