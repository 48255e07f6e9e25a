# ruff: noqa: N999 (the command is called so)
"""Let pods run the images of an archive: of `docker save`, or an OCI layout as one tar file.

The archive is unpacked into the cluster's folder; nothing is pulled from anywhere.

Example:
  docker save shop/cart:v1 -o cart.tar && linkerd local image import cart.tar
"""

from __future__ import annotations

import argparse
from pathlib import Path

from linkerd.errors import UsageError

SUMMARY = "Let pods run the images of an archive"
USAGE = "FILE"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("file", metavar="FILE", help="the archive; may be compressed with gzip")
    parser.add_argument("--name", default="", help="of its image, instead of the archive's")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Unpacks it and writes its names into the table."""
    from linkerd.cli.local import _cluster, images
    from linkerd.local import archive
    from linkerd.local.node import host

    file, paths = Path(args.file), _cluster.paths(args)
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    entries = archive.load(file, paths.images, host.architecture())
    if args.name:
        if len(entries) != 1:
            raise UsageError(f"the archive has {len(entries)} names, --name is for one")
        entries = {args.name: next(iter(entries.values()))}
    if "" in entries:
        raise UsageError("the archive does not name its image", hint="give it one with --name")
    images.write(paths, {**images.stored(paths), **entries})
    for name in entries:
        print(f"image {name} imported")
    return 0
