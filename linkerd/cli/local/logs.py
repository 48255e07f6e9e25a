"""Print the log of a pod's container.

Examples:
  linkerd local logs deploy/web -n emojivoto -c linkerd-proxy -f
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from linkerd.cli import _args

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Print the log of a pod's container"
USAGE = "POD|TYPE/NAME"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("pod", metavar="POD", help="pod, or deploy/web for one of its pods")
    parser.add_argument("-c", "--container", default="", help="container; default the first")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--tail", type=int, metavar="LINES", help="only the last lines")
    parser.add_argument("--since", type=_args.duration, metavar="TIME", help="only newer lines")
    parser.add_argument("--timestamps", action="store_true", help="begin lines with their time")
    parser.add_argument("-p", "--previous", action="store_true", help="of the instance before")
    _args.add_namespace(parser, "namespace of the pod")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Copies the log to stdout."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster

    config = _cluster.config(args)
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        from linkerd.cli.local import _pods
        from linkerd.kube import streams

        pod = await _pods.find(kube, args.pod, namespace)
        async for chunk in streams.logs(
            kube,
            pod["metadata"]["name"],
            namespace,
            container=args.container or _pods.main_container(pod),
            follow=args.follow,
            tail=args.tail,
            since_s=None if args.since is None else int(args.since),
            timestamps=args.timestamps,
            previous=args.previous,
        ):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        return 0

    return _connect.run(config, main)
