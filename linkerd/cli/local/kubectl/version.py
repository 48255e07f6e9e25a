"""Show the versions of this kubectl and of the cluster."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Show the versions of this kubectl and of the cluster"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("--client", action="store_true", help="do not ask the cluster")
    parser.add_argument("--short", action="store_true", help="as it is anyway; for old documents")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints them."""
    from linkerd import VERSION
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster

    print(f"Client Version: linkerd {VERSION}")
    if args.client:
        return 0

    async def main(kube: KubeClient) -> str:
        return str((await kube.request("GET", "/version"))["gitVersion"])

    print(f"Server Version: {_connect.run(_cluster.config(args), main)}")
    return 0
