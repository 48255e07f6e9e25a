"""List which pods can be tapped.

Example:
  linkerd viz list -n emojivoto
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linkerd.cli import _args

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient
    from linkerd.viz.objects import Pod

SUMMARY = "Lists which pods have tap enabled"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags

    _args.add_namespace(parser, "namespace of the pods", all=True)
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the pods by what can be done with them."""
    from linkerd.cli import _connect
    from linkerd.viz.tap import targets

    config = _connect.config(args)
    namespace = _connect.namespace(args, config, all=True)
    pods = _connect.run(config, lambda kube: _pods(kube, namespace))
    print(targets.listing(pods, args.linkerd_namespace), end="")
    return 0


async def _pods(kube: KubeClient, namespace: str | None) -> list[Pod]:
    import msgspec

    from linkerd.kube.resources import PODS
    from linkerd.viz.objects import Pod

    bodies = await kube.list(PODS, namespace, label_selector="linkerd.io/control-plane-ns")
    return [msgspec.convert(body, Pod) for body in bodies]
