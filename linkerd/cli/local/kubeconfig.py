"""Print the kubeconfig of the local cluster."""

from __future__ import annotations

import argparse

from linkerd.errors import LocalError

SUMMARY = "Print the kubeconfig of the local cluster"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("--path", action="store_true", help="print its path only")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints it, or its path."""
    from linkerd.cli.local import _cluster

    file = _cluster.paths(args).kubeconfig
    if not file.exists():
        raise LocalError(
            f"there is no local cluster {args.cluster!r}", hint="`linkerd local start` makes one"
        )
    print(file if args.path else file.read_text(), end="\n" if args.path else "")
    return 0
