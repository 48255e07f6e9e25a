"""Run an image in a pod.

Examples:
  linkerd local kubectl run client --image curlimages/curl -- sleep 3600
  linkerd local kubectl run web --image hashicorp/http-echo --port 5678 -- -text=hello
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Run an image in a pod"
USAGE = "NAME --image IMAGE [-- ARGUMENT...]"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("name", metavar="NAME", help="of the pod")
    parser.add_argument("--image", required=True, help="that it runs")
    parser.add_argument("--port", type=int, metavar="PORT", help="that it serves")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="variable")
    parser.add_argument("-l", "--labels", default="", metavar="LABELS", help="default run=NAME")
    parser.add_argument("--restart", choices=["Always", "OnFailure", "Never"], default="Always",
                        metavar="POLICY", help="Always, OnFailure or Never")  # fmt: skip
    parser.add_argument("--command", action="store_true", help="what follows -- is the program")
    _args.add_namespace(parser, "namespace of the pod")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Creates the pod."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster
    from linkerd.kube.resources import PODS

    config = _cluster.config(args)
    body = pod(args)

    async def main(kube: KubeClient) -> int:
        await kube.create(PODS, body, args.namespace or config.namespace)
        print(f"pod/{args.name} created")
        return 0

    return _connect.run(config, main)


def pod(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the pod.

    Raises:
        UsageError: a variable or label is malformed.
    """
    labels = args.labels or f"run={args.name}"
    for pair in (*args.env, *labels.split(",")):
        if "=" not in pair:
            raise UsageError(f"{pair}: expected NAME=VALUE")
    container: dict[str, Any] = {"name": args.name, "image": args.image}
    if args.rest:
        container["command" if args.command else "args"] = args.rest
    if args.env:
        pairs = [pair.split("=", 1) for pair in args.env]
        container["env"] = [{"name": name, "value": value} for name, value in pairs]
    if args.port:
        container["ports"] = [{"containerPort": args.port}]
    marks = dict(pair.split("=", 1) for pair in labels.split(","))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": args.name, "labels": marks},
        "spec": {"containers": [container], "restartPolicy": args.restart},
    }
