"""Flags that `tap` and `top` share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linkerd.cli import _args

if TYPE_CHECKING:
    from linkerd.gen import viz_tap_pb2
    from linkerd.kube.config import KubeConfig


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the resource and what narrows the requests."""
    from linkerd.cli.viz._flags import add_flags

    parser.add_argument("resources", nargs="*", metavar="RESOURCE", help="TYPE or TYPE/NAME")
    parser.add_argument("--to", default="", metavar="RESOURCE", help="only requests to it")
    parser.add_argument("--to-namespace", default="", metavar="NS", help="namespace of --to")
    parser.add_argument(
        "--max-rps", type=float, default=100.0, metavar="N",
        help="requests per second to watch at most, of all pods together (default 100)",
    )  # fmt: skip
    parser.add_argument("--scheme", default="", help="only requests with this scheme")
    parser.add_argument("--method", default="", help="only requests with this method")
    parser.add_argument(
        "--authority", default="", help="only requests with this :authority (a pod or service)"
    )
    parser.add_argument("--path", default="", help="only requests whose path begins with this")
    parser.add_argument("-l", "--selector", default="", help="label selector of the resources")
    _args.add_namespace(parser, "namespace of the resource")
    add_flags(parser)


def request(
    args: argparse.Namespace, config: KubeConfig, *, headers: bool = False
) -> viz_tap_pb2.TapByResourceRequest:
    """Returns what the flags ask of the tap API.

    Raises:
        UsageError: they name nothing that can be tapped.
    """
    from linkerd.cli import _connect
    from linkerd.errors import UsageError
    from linkerd.viz.tap.request import Wish, build

    if not 0 < args.max_rps <= 1e6:
        raise UsageError(f"--max-rps must be above 0 and at most 1000000, was {args.max_rps:g}")
    return build(
        args.resources,
        Wish(
            namespace=_connect.namespace(args, config) or "default",
            to=args.to,
            to_namespace=args.to_namespace,
            max_rps=args.max_rps,
            scheme=args.scheme,
            method=args.method,
            authority=args.authority,
            path=args.path,
            selector=args.selector,
            headers=headers,
        ),
    )
