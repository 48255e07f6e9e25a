"""`set image` and `set env`: which containers a workload has, and the patch that changes them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

Object = dict[str, Any]
_PATHS = {"Pod": (), "CronJob": ("jobTemplate", "spec", "template", "spec")}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="+", metavar="TYPE/NAME", help="objects, then the changes")
    parser.add_argument("-l", "--selector", default="", help="label selector")
    parser.add_argument("--all", action="store_true", help="all of the type in the namespace")
    _args.add_namespace(parser, "namespace of the objects")
    add_flags(parser)


def run(
    args: argparse.Namespace,
    words: list[str],
    changed: Callable[[Object], Object],
    done: str,
) -> int:
    """Patches every object that the words name and prints what was done.

    Args:
        args: Of the command.
        words: Those that name objects.
        changed: A container → the fields of it that change; empty leaves it.
        done: For instance `image updated`.

    Raises:
        UsageError: an object has no containers, or none that changes.
    """
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _objects

    config = _cluster.config(args)
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        from linkerd.kube.client import STRATEGIC

        chosen = {"selector": args.selector, "every": args.all}
        for one in await _objects.find(kube, words, namespace, **chosen):
            body = await kube.get(one.resource, one.name, one.namespace)
            change = patch(body, changed)
            if not change:
                raise UsageError(f"{one} has no such container")
            await kube.patch(one.resource, one.name, change, one.namespace, type=STRATEGIC)
            print(f"{one} {done}")
        return 0

    return _connect.run(config, main)


def patch(body: Object, changed: Callable[[Object], Object]) -> Object:
    """Returns the strategic patch of a workload; empty when nothing changes."""
    path = _PATHS.get(body["kind"], ("template", "spec"))
    spec: Object = body.get("spec") or {}
    for key in path:
        spec = spec.get(key) or {}
    lists = {
        key: [
            {"name": one["name"], **change}
            for one in spec.get(key) or ()
            if (change := changed(one))
        ]
        for key in ("initContainers", "containers")
    }
    result: Object = {key: value for key, value in lists.items() if value}
    if not result:
        return {}
    for key in reversed(path):
        result = {key: result}
    return {"spec": result}


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Returns the words that name objects, and the changes: `web=nginx:1`, `OLD-`.

    Raises:
        UsageError: nothing is to be changed.
    """
    at = next((at for at, word in enumerate(words) if "=" in word or word.endswith("-")), 0)
    if not at:
        raise UsageError("expected TYPE/NAME, then NAME=VALUE")
    return words[:at], words[at:]
