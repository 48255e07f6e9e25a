"""A real Kubernetes on this machine: `python -m tests.kubernetes.bed up|down|…`.

up          start it and print how to use it
down        end it; nothing is left behind
kubeconfig  print the path of its kubeconfig
load FILE…  import OCI archives
inside …    run a command in the node's namespaces
build       build the Go programs and do nothing else
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.kubernetes.bed import build, cluster
from tests.kubernetes.bed.paths import Paths


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.kubernetes.bed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", default="default", help="which bed (default: %(default)s)")
    parser.add_argument("command", choices=("up", "down", "kubeconfig", "load", "inside", "build"))
    parser.add_argument("words", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    paths = Paths(args.name)
    try:
        return _run(args.command, paths, args.words)
    except cluster.BedError as error:
        print(f"bed: {error}", file=sys.stderr)
        return 1


def _run(command: str, paths: Paths, words: list[str]) -> int:
    if command == "up":
        started = time.monotonic()
        cluster.up(paths)
        print(f"Kubernetes {build.version()} is ready after {time.monotonic() - started:.1f} s")
        print(f"export KUBECONFIG={paths.kubeconfig} PATH={build.binaries()}:$PATH")
    elif command == "down":
        cluster.down(paths)
    elif command == "kubeconfig":
        if not cluster.running(paths):
            raise cluster.BedError(f"bed {paths.name} does not run")
        print(paths.kubeconfig)
    elif command == "load":
        cluster.load(paths, [Path(one).resolve() for one in words])
    elif command == "build":
        cluster.provide()
        for kit in (build.KUBERNETES, build.HELM):
            print(build.binaries(kit))
    else:
        done = cluster.inside(paths, *words)
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
