"""Set and remove variables of a workload's containers.

Example:
  linkerd local kubectl set env deploy/web COLOR=red OLD- -n shop
"""

from __future__ import annotations

import argparse
from typing import Any

from linkerd.cli.local import _containers

SUMMARY = "Set and remove variables of a workload's containers"
USAGE = "TYPE/NAME NAME=VALUE... NAME-..."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("-c", "--containers", default="*", metavar="NAME",
                        help="only this container (default all)")  # fmt: skip
    _containers.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Changes them."""
    words, changes = _containers.split(args.words)
    variables = [variable(change) for change in changes]

    def changed(container: dict[str, Any]) -> dict[str, Any]:
        return {"env": variables} if args.containers in ("*", container["name"]) else {}

    return _containers.run(args, words, changed, "env updated")


def variable(change: str) -> dict[str, Any]:
    """Returns the entry of a strategic patch: `NAME=VALUE` sets, `NAME-` removes."""
    name, sign, value = change.partition("=")
    return {"name": name, "value": value} if sign else {"name": name[:-1], "$patch": "delete"}
