"""Show what runs of the local cluster; exit code 1 when nothing does."""

from __future__ import annotations

import argparse

SUMMARY = "Show what runs of the local cluster"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints its address, files and processes."""
    from linkerd.cli.local import _cluster, _tables
    from linkerd.local import supervisor

    paths = _cluster.paths(args)
    status = supervisor.status(paths)
    if not status.running:
        print(f"local cluster {args.cluster!r} is not running")
        return 1
    print(f"local cluster {args.cluster!r} runs at https://127.0.0.1:{status.port}")
    print(f"kubeconfig: {paths.kubeconfig} (context {_cluster.context(args)})")
    print(f"logs: {paths.logs}")
    for note in status.notes:
        print(f"note: {note}")
    print()
    rows = [[name, str(pid)] for name, pid in sorted(status.processes.items())]
    print(_tables.aligned([["PROCESS", "PID"], *rows]), end="")
    return 0
