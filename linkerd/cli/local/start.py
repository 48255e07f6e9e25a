"""Start a cluster on this machine: a Kubernetes API, its controllers and one node.

Needs no root: an ordinary user's cluster runs in a user namespace. There a container's root file
system is read-only, and without `newuidmap` and a range in /etc/subuid all its users are yours.

Its kubeconfig is merged into yours as context linkerd-local, which becomes the current one.
"""

from __future__ import annotations

import argparse
import os
import sys

from linkerd.errors import UsageError

SUMMARY = "Start a cluster on this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument(
        "-p", "--port", type=int, metavar="PORT",
        help="port of the API on 127.0.0.1; default the last one used, else the first free one",
    )  # fmt: skip
    parser.add_argument(
        "--no-kubeconfig", action="store_true", help="leave your kubeconfig as it is"
    )
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Starts it and returns when its API answers."""
    from linkerd.cli.local import _cluster, _kubeconfig, images

    paths = _cluster.paths(args)
    if args.port is not None and not 0 < args.port <= 65535:
        raise UsageError(f"invalid port {args.port}")
    from linkerd.local import supervisor

    table = images.own_and_users(paths)
    supervisor.start(paths, table, args.port, _tell)
    name = _cluster.context(args)
    if not args.no_kubeconfig:
        file = _kubeconfig.users_file(os.environ)
        _kubeconfig.add(file, paths.kubeconfig, name)
        print(f"context {name} is now the current one in {file}")
    print("`linkerd local status` shows what runs, `linkerd local stop` ends it")
    return 0


def _tell(phrase: str) -> None:
    print(phrase, file=sys.stderr, flush=True)
