"""Say where to look for CPU and memory: the cluster has no metrics server."""

from __future__ import annotations

import argparse

from linkerd.errors import LocalError

SUMMARY = "Not there: the cluster measures no CPU and memory"
USAGE = "pods|nodes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli import _args
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="*", metavar="TYPE", help="pods or nodes")
    _args.add_namespace(parser, "namespace of the pods", all=True)
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Raises LocalError."""
    raise LocalError(
        "Metrics API not available",
        hint="pods are processes of this machine: look at them with top; for their calls there "
        "is `linkerd viz top`",
    )
