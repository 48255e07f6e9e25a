"""List the groups and versions that the cluster serves."""

from __future__ import annotations

import argparse

SUMMARY = "List the groups and versions that the cluster serves"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints them."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _served

    print("\n".join(_connect.run(_cluster.config(args), _served.versions)))
    return 0
