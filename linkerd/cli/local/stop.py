"""Stop the local cluster; its objects and images are kept for the next start."""

from __future__ import annotations

import argparse

SUMMARY = "Stop the local cluster; its state is kept"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Stops it; one that does not run is no failure."""
    from linkerd.cli.local import _background, _cluster
    from linkerd.local import supervisor

    paths = _cluster.paths(args)
    _background.stop_all(paths)
    stopped = supervisor.stop(paths)
    print(f"local cluster {args.cluster!r} {'stopped' if stopped else 'was not running'}")
    return 0
