"""Let pods of the local cluster run a command of this machine under the name of an image.

Example:
  linkerd local image add shop/cart:v1 -- python3 -m cart --port 8080
"""

from __future__ import annotations

import argparse

from linkerd.errors import UsageError

SUMMARY = "Let pods run a command of this machine under the name of an image"
USAGE = "NAME -- COMMAND..."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("name", metavar="NAME", help="image, with or without a tag")
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="variable; may be repeated"
    )
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the entry; pods that start from now on use it."""
    from linkerd.cli.local import _cluster, images

    if not args.rest:
        raise UsageError("no command given", hint="write it after --")
    wrong = [pair for pair in args.env if "=" not in pair]
    if wrong:
        raise UsageError(f"--env {wrong[0]}: expected NAME=VALUE")
    paths = _cluster.paths(args)
    entries = images.stored(paths)
    entries[args.name] = {
        "entrypoint": args.rest,
        "cmd": [],
        "env": dict(pair.split("=", 1) for pair in args.env),
        "user": None,
    }
    images.write(paths, entries)
    print(f"image {args.name} added")
    return 0
