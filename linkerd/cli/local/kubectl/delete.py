"""Delete objects by name, by label or from files.

Examples:
  linkerd local kubectl delete pod web-5f86686c4d-58p7k -n emojivoto
  linkerd local kubectl delete -f emojivoto.yml
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import NotFound, UsageError

if TYPE_CHECKING:
    from linkerd.cli.local._objects import Named
    from linkerd.kube.client import KubeClient

SUMMARY = "Delete objects by name, by label or from files"
USAGE = "TYPE NAME... | TYPE/NAME... | -f FILE"
_LOOK_S = 0.1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="*", metavar="TYPE NAME", help="for instance pod web")
    parser.add_argument("-f", "--filename", action="append", default=[], metavar="FILE",
                        help="file, folder, - or https address")  # fmt: skip
    parser.add_argument("-l", "--selector", default="", help="label selector")
    parser.add_argument("--all", action="store_true", help="all of the type in the namespace")
    _args.add_boolean(parser, "--ignore-not-found", help="missing ones are fine")
    _args.add_boolean(parser, "--wait", default=True, help="until they are gone (default true)")
    parser.add_argument("--grace-period", type=int, metavar="SECONDS", help="instead of the pods'")
    parser.add_argument("--force", action="store_true", help="with --grace-period=0: at once")
    parser.add_argument("--now", action="store_true", help="same as --grace-period=1")
    _args.add_namespace(parser, "namespace of the objects")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Deletes them, in the order of the files turned round, and waits until they are gone."""
    from linkerd.cli import _connect, _manifests
    from linkerd.cli.local import _cluster, _objects

    if bool(args.words) == bool(args.filename):
        raise UsageError("expected names or -f FILE")
    config = _cluster.config(args)
    namespace = args.namespace or config.namespace
    bodies = [body for source in args.filename for body in _manifests.objects(source)]
    ignore = args.ignore_not_found or args.all or bool(args.selector)

    async def main(kube: KubeClient) -> int:
        wanted = [await _objects.of(kube, body, namespace) for body in reversed(bodies)]
        if args.words:
            chosen = {"selector": args.selector, "every": args.all}
            wanted = await _objects.find(kube, args.words, namespace, **chosen)
        if not wanted:
            print("No resources found")
        missing = [one for one in wanted if not await _delete(kube, one, _grace(args), ignore)]
        if args.wait:
            for one in wanted:
                await _gone(kube, one)
        return int(bool(missing))

    return _connect.run(config, main)


def _grace(args: argparse.Namespace) -> int | None:
    if args.now:
        return 1
    if args.force and args.grace_period is None:
        return 0
    return args.grace_period  # type: ignore[no-any-return]


async def _delete(kube: KubeClient, one: Named, grace_s: int | None, ignore: bool) -> bool:
    import sys

    try:
        await kube.delete(one.resource, one.name, one.namespace, grace_s=grace_s)
    except NotFound as error:
        if not ignore:
            print(f"Error from server (NotFound): {error.message}", file=sys.stderr)
        return ignore
    print(f'{one.kind} "{one.name}" deleted', flush=True)
    return True


async def _gone(kube: KubeClient, one: Named) -> None:
    while True:
        if await kube.get_or_none(one.resource, one.name, one.namespace) is None:
            return
        await asyncio.sleep(_LOOK_S)
