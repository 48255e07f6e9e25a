"""List the kinds that the cluster serves.

Examples:
  linkerd local kubectl api-resources
  linkerd local kubectl api-resources --api-group policy.linkerd.io
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linkerd.cli import _args

if TYPE_CHECKING:
    from linkerd.cli.local._served import Served

SUMMARY = "List the kinds that the cluster serves"
_TITLES = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("--api-group", default=None, metavar="GROUP", help="only of this group")
    _args.add_boolean(parser, "--namespaced", default=None, help="only with, or without, namespace")
    parser.add_argument("--no-headers", action="store_true", help="only the rows")
    parser.add_argument("-o", "--output", choices=["table", "wide", "name"], default="table",
                        metavar="FORMAT", help="table (the default), wide or name")  # fmt: skip
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints them."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _served, _tables

    found = [
        one
        for one in _connect.run(_cluster.config(args), _served.kinds)
        if args.api_group in (None, one.group) and args.namespaced in (None, one.namespaced)
    ]
    if args.output == "name":
        print("\n".join(f"{one.plural}.{one.group}".rstrip(".") for one in found))
        return 0
    wide = args.output == "wide"
    lines = [[*_TITLES, "VERBS"] if wide else _TITLES, *(_row(one, wide) for one in found)]
    text = _tables.aligned(lines)
    print(text.partition("\n")[2] if args.no_headers else text, end="")
    return 0


def _row(one: Served, wide: bool) -> list[str]:
    cells = [
        one.plural,
        ",".join(one.short),
        one.api_version,
        str(one.namespaced).lower(),
        one.kind,
    ]
    return [*cells, ",".join(one.verbs)] if wide else cells
