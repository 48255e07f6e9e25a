"""Open the Linkerd dashboard in a web browser; runs until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Open the Linkerd dashboard in a web browser"
_PORT = 8084
_PORT_HERE = 50750


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags

    parser.add_argument("--address", default="localhost", help="local address (default localhost)")
    parser.add_argument(
        "-p", "--port", type=int, default=None,
        help="local port, 0 for any (default 50750, or any when that is taken)",
    )  # fmt: skip
    parser.add_argument(
        "--show", choices=["linkerd", "grafana", "url"], default="linkerd", metavar="WHAT",
        help="what to open in a browser: linkerd, grafana or url for nothing (default linkerd)",
    )  # fmt: skip
    parser.add_argument(
        "--wait", type=_args.duration, default=300.0, metavar="TIME",
        help="how long to wait for the dashboard to run (default 5m0s)",
    )  # fmt: skip
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Forwards a local port to the dashboard and prints its address."""
    if args.port is not None and not 0 <= args.port <= 65535:
        raise UsageError(f"port must be greater than or equal to zero, was {args.port}")
    from linkerd.cli import _connect

    return _connect.run(_connect.config(args), lambda kube: _serve(kube, args))


async def _serve(kube: KubeClient, args: argparse.Namespace) -> int:
    import asyncio

    from linkerd.cli.viz._standing import Way

    way = Way(kube, args, "web", _PORT)
    await way.open(args.wait, _waiting)
    port = _PORT_HERE if args.port is None else args.port
    if args.port is None and not _free(args.address, port):
        print(f"port {port} is taken, another dashboard may run there", file=sys.stderr)
        port = 0
    try:
        async with way.listening(args.address, port) as port:
            url = f"http://{args.address}:{port}"
            print(f"Linkerd dashboard available at:\n{url}")
            print(f"Grafana dashboard available at:\n{url}/grafana", flush=True)
            if args.show != "url":
                _open(url if args.show == "linkerd" else f"{url}/grafana")
            await asyncio.Event().wait()
    except OSError as error:
        raise UsageError(
            f"cannot listen on {args.address}:{port}: {error.strerror}",
            hint="-p 0 takes any free port",
        ) from None
    return 0


def _free(address: str, port: int) -> bool:
    import socket

    try:
        socket.create_server((address, port)).close()
    except OSError:
        return False
    return True


def _waiting(why: str) -> None:
    print(f"Waiting for linkerd-viz extension to become available: {why}", file=sys.stderr)


def _open(url: str) -> None:
    import webbrowser

    print("Opening Linkerd dashboard in the default browser", flush=True)
    if not webbrowser.open(url):
        print("Failed to open Linkerd dashboard automatically", file=sys.stderr)
        print(f"Visit {url} in your browser to view the dashboard", file=sys.stderr)
