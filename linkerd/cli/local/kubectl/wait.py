"""Wait until objects have a condition or a value, or are gone.

Examples:
  linkerd local kubectl wait --for condition=available deploy --all -n emojivoto
  linkerd local kubectl wait --for jsonpath='{.status.phase}'=Running pod/client
  linkerd local kubectl wait --for delete pod/web-5f86686c4d-58p7k
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from linkerd.cli.local._objects import Named
    from linkerd.kube.client import KubeClient

SUMMARY = "Wait until objects have a condition or a value, or are gone"
USAGE = "TYPE/NAME... --for condition=NAME[=VALUE]|jsonpath=PATH[=VALUE]|delete"
_LOOK_S = 0.2


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="+", metavar="TYPE/NAME", help="for instance deploy/web")
    parser.add_argument("--for", required=True, dest="condition", metavar="WHAT",
                        help="condition=NAME[=VALUE], jsonpath=PATH[=VALUE] or delete")  # fmt: skip
    parser.add_argument("-l", "--selector", default="", help="label selector")
    parser.add_argument("--all", action="store_true", help="all of the type in the namespace")
    parser.add_argument("--timeout", type=_args.duration, default=30.0, metavar="TIME",
                        help="default 30s")  # fmt: skip
    _args.add_namespace(parser, "namespace of the objects")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Waits for one after the other."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _objects

    kind, _, wanted = args.condition.partition("=")
    if kind not in ("condition", "jsonpath", "delete") or bool(wanted) != (kind != "delete"):
        raise UsageError(f"unrecognized condition: {args.condition!r}")
    met = holds(wanted) if kind == "jsonpath" else functools.partial(has, wanted=wanted)
    config = _cluster.config(args)
    namespace = args.namespace or config.namespace
    deadline = time.monotonic() + args.timeout

    async def main(kube: KubeClient) -> int:
        chosen = {"selector": args.selector, "every": args.all}
        found = await _objects.find(kube, args.words, namespace, **chosen)
        if not found:
            raise CheckFailed("no matching resources found")
        for one in found:
            while not await _met(kube, one, met if wanted else None):
                if time.monotonic() > deadline:
                    raise CheckFailed(f"timed out waiting for the condition on {one}")
                await asyncio.sleep(_LOOK_S)
            print(f"{one} condition met", flush=True)
        return 0

    return _connect.run(config, main)


async def _met(kube: KubeClient, one: Named, met: Callable[[dict[str, Any]], bool] | None) -> bool:
    body = await kube.get_or_none(one.resource, one.name, one.namespace)
    return body is None if met is None else met(body or {})


def has(body: dict[str, Any], wanted: str) -> bool:
    """Returns whether an object has the condition `NAME` or `NAME=VALUE`; case does not count."""
    name, _, value = wanted.lower().partition("=")
    return any(
        condition["type"].lower() == name and condition["status"].lower() == (value or "true")
        for condition in (body.get("status") or {}).get("conditions") or ()
    )


def holds(wanted: str) -> Callable[[dict[str, Any]], bool]:
    """Returns the question whether an object has `{PATH}=VALUE`, or anything at `{PATH}`.

    Raises:
        UsageError: the path is malformed.
    """
    from linkerd.cli import _jsonpath

    path, _, expected = wanted.rpartition("}=") if "}=" in wanted else wanted.partition("=")
    fill = _jsonpath.compile(path + "}" if path.startswith("{") and path[-1] != "}" else path)

    def met(body: dict[str, Any]) -> bool:
        found = fill(body)
        return found == expected if expected else bool(found)

    return met
