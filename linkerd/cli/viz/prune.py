"""Output extraneous Kubernetes resources in the linkerd-viz extension.

Compares what the cluster has of the extension with what this version would install.

Example:
  linkerd viz prune | kubectl delete -f -
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linkerd.cli import _args

if TYPE_CHECKING:
    from linkerd.install.removal import Object
    from linkerd.kube.client import KubeClient

SUMMARY = "Output extraneous Kubernetes resources in the linkerd-viz extension"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli import _chart_flags
    from linkerd.cli.viz._flags import add_flags

    parser.add_argument("--ha", action="store_true", help="values for high availability")
    parser.add_argument(
        "--wait", type=_args.duration, default=300.0, metavar="TIME",
        help="accepted for compatibility",
    )  # fmt: skip
    _chart_flags.add_helm_flags(parser)
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the leftovers; none print nothing."""
    from linkerd.cli import _chart_flags, _connect
    from linkerd.inject import manifest
    from linkerd.install import removal
    from linkerd.viz import install

    async def present(kube: KubeClient) -> tuple[str, list[Object]]:
        from linkerd.cli.viz import _extension

        namespace = await _extension.namespace(kube, args)
        selector = "linkerd.io/extension=viz"
        return namespace, await removal.labelled(kube, selector, removal.PRUNED)

    namespace, found = _connect.run(_connect.config(args), present)
    rendered = install.render(
        _chart_flags.helm_values(args),
        namespace=namespace,
        linkerd_namespace=args.linkerd_namespace,
        ha=args.ha,
    )
    # What users asked `allow-scrapes` for is theirs.
    own = [body for body in found if body["metadata"].get("namespace") in (None, "", namespace)]
    left = removal.left_over(own, manifest.parse_all(rendered))
    print(removal.printed(left, args.output), end="")
    return 0
