"""Stop the local cluster and remove its state and its entry in your kubeconfig."""

from __future__ import annotations

import argparse
import os

SUMMARY = "Stop the local cluster and remove its state"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Removes it; one that does not exist is no failure."""
    from linkerd.cli.local import _background, _cluster, _kubeconfig
    from linkerd.local import supervisor

    paths = _cluster.paths(args)
    existed = paths.state.exists()
    _background.stop_all(paths)
    supervisor.delete(paths)
    _kubeconfig.remove(_kubeconfig.users_file(os.environ), _cluster.context(args))
    print(f"local cluster {args.cluster!r} {'deleted' if existed else 'does not exist'}")
    return 0
