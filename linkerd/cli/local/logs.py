"""Print the log of a pod's container, or of several.

Examples:
  linkerd local logs deploy/web -n emojivoto -c linkerd-proxy -f
  linkerd local logs -l app=web-svc -n emojivoto --all-containers --prefix
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Print the log of a pod's container, or of several"
USAGE = "POD|TYPE/NAME [CONTAINER] | -l SELECTOR"
_TAIL_OF_MANY = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="*", metavar="POD", help="pod, or deploy/web for one of its")
    parser.add_argument("-l", "--selector", default="", help="label selector, for all its pods")
    parser.add_argument("-c", "--container", default="", help="container; default the first")
    parser.add_argument("--all-containers", action="store_true", help="all of a pod")
    parser.add_argument("--prefix", action="store_true", help="begin lines with their container")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument(
        "--tail", type=int, metavar="LINES", help="only the last lines (default all, 10 with -l)"
    )
    parser.add_argument("--since", type=_args.duration, metavar="TIME", help="only newer lines")
    parser.add_argument("--timestamps", action="store_true", help="begin lines with their time")
    parser.add_argument("-p", "--previous", action="store_true", help="of the instance before")
    _args.add_namespace(parser, "namespace of the pod")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Copies the logs to stdout: one after the other, or with -f as they come."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster

    if bool(args.words) == bool(args.selector) or len(args.words) > 2:
        raise UsageError("expected POD, TYPE/NAME or -l SELECTOR")
    config = _cluster.config(args)
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        streams = [
            _copy(kube, pod, container, args)
            for pod, container in await _chosen(kube, args, namespace)
        ]
        if not args.follow:
            for stream in streams:
                await stream
            return 0
        async with asyncio.TaskGroup() as tasks:
            for stream in streams:
                tasks.create_task(stream)
        return 0

    return _connect.run(config, main)


async def _chosen(
    kube: KubeClient, args: argparse.Namespace, namespace: str
) -> list[tuple[dict[str, Any], str]]:
    from linkerd.cli.local import _pods
    from linkerd.kube.resources import PODS

    if args.selector:
        pods = await kube.list(PODS, namespace, label_selector=args.selector)
    else:
        pods = [await _pods.find(kube, args.words[0], namespace)]
    wanted = args.words[1] if len(args.words) > 1 else args.container
    return [
        (pod, name)
        for pod in pods
        for name in (
            [one["name"] for one in _containers(pod)]
            if args.all_containers
            else [wanted or _pods.main_container(pod)]
        )
    ]


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    spec = pod["spec"]
    return [*(spec.get("initContainers") or ()), *spec["containers"]]


async def _copy(
    kube: KubeClient, pod: dict[str, Any], container: str, args: argparse.Namespace
) -> None:
    from linkerd.kube import streams

    metadata = pod["metadata"]
    name = metadata["name"]
    mark = f"[pod/{name}/{container}] ".encode() if args.prefix else b""
    begun = False
    async for chunk in streams.logs(
        kube,
        name,
        metadata["namespace"],
        container=container,
        follow=args.follow,
        tail=_TAIL_OF_MANY if args.tail is None and args.selector else args.tail,
        since_s=None if args.since is None else int(args.since),
        timestamps=args.timestamps,
        previous=args.previous,
    ):
        for line in chunk.splitlines(keepends=True) if mark else (chunk,):
            sys.stdout.buffer.write(line if begun else mark + line)
            begun = not line.endswith(b"\n") and bool(mark)
        sys.stdout.buffer.flush()
