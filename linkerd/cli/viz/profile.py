"""Output service profile config for Kubernetes based on live traffic.

Example:
  # Watch the web deployment for ten seconds.
  linkerd viz profile --tap deploy/web -n emojivoto --tap-duration 10s web-svc
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.gen import viz_tap_pb2
    from linkerd.kube.client import KubeClient
    from linkerd.viz.tap.profile import Routes

SUMMARY = "Output service profile config for Kubernetes based on live traffic"
USAGE = "--tap RESOURCE (SERVICE)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags

    parser.add_argument("service", help="name of the service")
    parser.add_argument("--tap", default="", metavar="RESOURCE", help="what to watch")
    parser.add_argument(
        "--tap-duration", type=_args.duration, default=5.0, metavar="TIME",
        help="how long to watch (default 5s)",
    )  # fmt: skip
    parser.add_argument(
        "--tap-route-limit", type=int, default=20, metavar="N",
        help="number of routes at most (default 20)",
    )  # fmt: skip
    _args.add_namespace(parser, "namespace of the service")
    _args.add_output(parser, ("yaml", "json"), default="yaml")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the profile."""
    if not args.tap:
        raise UsageError("The --tap flag must be specified")
    if args.tap_route_limit < 1:
        raise UsageError(f"--tap-route-limit must be at least 1, was {args.tap_route_limit}")
    from linkerd.cli import _connect
    from linkerd.inject import manifest
    from linkerd.viz.tap.profile import Routes
    from linkerd.viz.tap.request import Wish, build

    config = _connect.config(args)
    namespace = _connect.namespace(args, config) or "default"
    wanted = build([args.tap], Wish(namespace))
    routes = Routes(args.tap_route_limit)
    domain = _connect.run(config, lambda kube: _watch(kube, args, wanted, routes))
    profile: dict[str, Any] = routes.profile(args.service, namespace, domain)
    if not profile["spec"]["routes"]:
        print("no requests were seen", file=sys.stderr)
    text = json.dumps(profile, indent=2) + "\n" if args.output == "json" else None
    print(text or manifest.render(profile), end="")
    return 0


async def _watch(
    kube: KubeClient,
    args: argparse.Namespace,
    wanted: viz_tap_pb2.TapByResourceRequest,
    routes: Routes,
) -> str:
    """Feeds the routes for a while; returns the cluster's domain."""
    import asyncio
    import contextlib

    from linkerd.check.cluster import Mesh
    from linkerd.errors import LinkerdError
    from linkerd.viz.tap import client

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(args.tap_duration), client.events(kube, wanted) as events:
            async for event in events:
                if not routes.take(event):
                    break
    try:
        values = await Mesh(kube, args.linkerd_namespace).config()
    except LinkerdError:
        return "cluster.local"
    return str(values.get("clusterDomain") or "cluster.local")
