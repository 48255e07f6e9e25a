"""Run a command in a pod's container, with your terminal if you want.

Examples:
  linkerd local exec ubuntu -n linkerd-test -it -- /bin/bash
  linkerd local exec deploy/web -n emojivoto -- wget -qO- http://emoji-svc:8801/metrics
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Run a command in a pod's container"
USAGE = "POD|TYPE/NAME -- COMMAND..."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("pod", metavar="POD", help="pod, or deploy/web for one of its pods")
    parser.add_argument("-c", "--container", default="", help="container; default the first")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input on")
    parser.add_argument("-t", "--tty", action="store_true", help="give the command a terminal")
    _args.add_namespace(parser, "namespace of the pod")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Runs it to its end and returns its exit code."""
    if not args.rest:
        raise UsageError("no command given", hint="write it after --")
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster

    config = _cluster.config(args)
    namespace = args.namespace or config.namespace
    tty = args.tty and os.isatty(0)
    if args.tty and not tty:
        print("Unable to use a TTY - input is not a terminal", file=sys.stderr)

    async def main(kube: KubeClient) -> int:
        from linkerd.cli.local import _pods, _terminal

        pod = await _pods.find(kube, args.pod, namespace)
        return await _terminal.attach(
            kube,
            pod["metadata"]["name"],
            namespace,
            args.rest,
            container=args.container or _pods.main_container(pod),
            stdin=args.stdin,
            tty=tty,
        )

    return _connect.run(config, main)
