"""Take an image away from the local cluster; pods that run it go on until they end."""

from __future__ import annotations

import argparse

from linkerd.errors import UsageError

SUMMARY = "Take an image away from the local cluster"
USAGE = "NAME"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("name", metavar="NAME", help="as `linkerd local image list` shows it")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Removes the entry, and what was unpacked for it unless another name has it too."""
    from linkerd.cli.local import _cluster, images
    from linkerd.local import unprivileged

    paths = _cluster.paths(args)
    entries = images.stored(paths)
    if args.name not in entries:
        raise UsageError(f"there is no image {args.name!r} that was added or imported")
    gone = entries.pop(args.name)
    images.write(paths, entries)
    kept = {entry.get("root") for entry in entries.values()}
    if gone.get("root") and gone["root"] not in kept:
        from pathlib import Path

        unprivileged.remove(Path(gone["root"]).parent)
    print(f"image {args.name} removed")
    return 0
