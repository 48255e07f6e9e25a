"""`label` and `annotate`: KEY=VALUE sets, KEY- removes."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

USAGE = "TYPE NAME... KEY=VALUE... KEY-..."
_KEY = re.compile(r"([A-Za-z0-9./_-]+)(?:=(.*)|-)", re.DOTALL)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="+", metavar="TYPE NAME", help="objects, then KEY=VALUE")
    parser.add_argument("-l", "--selector", default="", help="label selector")
    parser.add_argument("--all", action="store_true", help="all of the type in the namespace")
    parser.add_argument("--overwrite", action="store_true", help="change what is set already")
    _args.add_namespace(parser, "namespace of the objects")
    add_flags(parser)


def run(args: argparse.Namespace, field: str, done: str) -> int:
    """Changes the field of every object and prints what was done.

    Raises:
        UsageError: nothing is to be changed, or a key has a value and --overwrite is missing.
    """
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _objects

    words, changes = split(args.words)
    config = _cluster.config(args)
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        chosen = {"selector": args.selector, "every": args.all}
        for one in await _objects.find(kube, words, namespace, **chosen):
            body = await kube.get(one.resource, one.name, one.namespace)
            held = body["metadata"].get(field) or {}
            for key, value in changes.items():
                if value is not None and held.get(key, value) != value and not args.overwrite:
                    raise UsageError(
                        f"'{key}' already has a value ({held[key]}), and --overwrite is false"
                    )
            patch = {"metadata": {field: changes}}
            await kube.patch(one.resource, one.name, patch, one.namespace)
            print(f"{one} {done}")
        return 0

    return _connect.run(config, main)


def split(words: list[str]) -> tuple[list[str], dict[str, str | None]]:
    """Returns the words that name objects, and the value of each key; None removes it.

    Raises:
        UsageError: no key is changed.
    """
    changes: dict[str, str | None] = {}
    objects = list(words)
    while objects and (found := _KEY.fullmatch(objects[-1])) and len(objects) > 1:
        if "=" not in objects[-1] and not objects[-1].endswith("-"):
            break
        changes[found[1].removesuffix("-") if found[2] is None else found[1]] = found[2]
        objects.pop()
    if not changes:
        raise UsageError("at least one KEY=VALUE or KEY- is required")
    return objects, changes
