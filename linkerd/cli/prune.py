"""Output extraneous Kubernetes resources in the Linkerd control plane.

Compares what the cluster has of the control plane with what this version would install, and prints
what is left over.

Example:
  linkerd prune | kubectl delete -f -
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linkerd.cli import _args

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Output extraneous Kubernetes resources in the Linkerd control plane"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    _args.add_output(parser, ("yaml", "json"), default="yaml")


def run(args: argparse.Namespace) -> int:
    """Prints the leftovers; none print nothing."""
    from linkerd.cli import _connect, _install
    from linkerd.inject import manifest
    from linkerd.install import install, removal

    options = install.InstallOptions(namespace=args.linkerd_namespace, stored=_install.stored(args))
    rendered = [
        body
        for text in (
            install.render_crds(namespace=args.linkerd_namespace),
            install.render_control_plane(options),
        )
        for body in manifest.parse_all(text)
    ]
    selector = f"linkerd.io/control-plane-ns={args.linkerd_namespace}"

    async def present(kube: KubeClient) -> list[removal.Object]:
        return await removal.labelled(kube, selector, removal.PRUNED)

    found = _connect.run(_connect.config(args), present)
    print(removal.printed(removal.left_over(found, rendered), args.output), end="")
    return 0
