"""Display sorted information about live traffic.

Keys: q quits, up and down scroll, left and right (or a and d) scroll sideways, s sorts by the
next column.

Examples:
  # The requests of the web deployment.
  linkerd viz top deploy/web -n emojivoto

  # The requests of a whole namespace, whoever sends them.
  linkerd viz top ns/emojivoto --hide-sources
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.gen import viz_tap_pb2
    from linkerd.kube.client import KubeClient
    from linkerd.viz.tap.screen import Screen

SUMMARY = "Display sorted information about live traffic"
USAGE = "(RESOURCE)"
_REFRESH_S = 0.25


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz import _tap

    _tap.add_flags(parser)
    parser.add_argument("--hide-sources", action="store_true", help="do not tell callers apart")
    parser.add_argument("--routes", action="store_true", help="show routes instead of paths")


def run(args: argparse.Namespace) -> int:
    """Shows a table that changes until q or Ctrl-C."""
    from linkerd.cli import _connect
    from linkerd.cli.viz import _tap
    from linkerd.viz.tap.screen import Screen
    from linkerd.viz.tap.top import Top

    config = _connect.config(args)
    wanted = _tap.request(args, config)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top needs a terminal", hint="use `linkerd viz tap` in pipes")
    top = Top(hide_sources=args.hide_sources, routes=args.routes)
    screen = Screen(top, hide_sources=args.hide_sources, routes=args.routes)
    _connect.run(config, lambda kube: _show(kube, wanted, screen))
    return 0


async def _show(kube: KubeClient, wanted: viz_tap_pb2.TapByResourceRequest, screen: Screen) -> None:
    import asyncio

    from linkerd.cli.viz import _terminal
    from linkerd.viz.tap import client

    async with client.events(kube, wanted) as events:
        with _terminal.full_screen() as terminal:

            async def take() -> None:
                async for event in events:
                    screen.top.take(event)

            async def draw() -> None:
                while True:
                    terminal.draw(screen.lines(*terminal.size()))
                    await asyncio.sleep(_REFRESH_S)

            async def keys() -> None:
                while screen.press(await terminal.key()):
                    terminal.draw(screen.lines(*terminal.size()))

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each()) for each in (take, draw, keys)]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
