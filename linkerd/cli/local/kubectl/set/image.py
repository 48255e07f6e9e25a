"""Change the images of a workload's containers.

Examples:
  linkerd local kubectl set image deploy/web web=shop/web:v2 -n shop
  linkerd local kubectl set image deploy/web '*=shop/web:v2'
"""

from __future__ import annotations

import argparse
from typing import Any

from linkerd.cli.local import _containers
from linkerd.errors import UsageError

SUMMARY = "Change the images of a workload's containers"
USAGE = "TYPE/NAME CONTAINER=IMAGE..."
configure = _containers.configure


def run(args: argparse.Namespace) -> int:
    """Changes them."""
    words, changes = _containers.split(args.words)
    images = dict(change.split("=", 1) for change in changes if "=" in change)
    if len(images) != len(changes):
        raise UsageError("expected CONTAINER=IMAGE")

    def changed(container: dict[str, Any]) -> dict[str, Any]:
        image = images.get(container["name"], images.get("*"))
        return {"image": image} if image else {}

    return _containers.run(args, words, changed, "image updated")
