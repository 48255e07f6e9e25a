"""Output Kubernetes resources to uninstall the Linkerd control plane.

Extensions and injected pods must go first; --force does not wait for that.

Example:
  linkerd uninstall | kubectl delete -f -
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import CheckFailed

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Output Kubernetes resources to uninstall Linkerd control plane"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "-f", "--force", action="store_true", help="whatever still needs the control plane"
    )
    _args.add_output(parser, ("yaml", "json"), default="yaml")


def run(args: argparse.Namespace) -> int:
    """Prints what to delete; 1 when something still needs the control plane."""
    from linkerd.cli import _connect
    from linkerd.install import removal

    found, extensions, pods = _connect.run(
        _connect.config(args), lambda kube: _look(kube, args.linkerd_namespace)
    )
    if (extensions or pods) and not args.force:
        _refuse("Please uninstall the following extensions", extensions)
        _refuse("Please uninject the following pods", pods)
        return 1
    if not found:
        raise CheckFailed("No resources found to uninstall")
    print(removal.printed(found, args.output), end="")
    return 0


def _refuse(first: str, names: list[str]) -> None:
    if names:
        print(f"{first} before uninstalling the control-plane:", file=sys.stderr)
        print("\n".join(f"\t* {name}" for name in names), file=sys.stderr)


async def _look(
    kube: KubeClient, namespace: str
) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    import asyncio

    from linkerd.check import cluster
    from linkerd.install import removal
    from linkerd.kube.resources import NAMESPACES

    own = f"{cluster.CONTROL_PLANE_NS}={namespace}"
    found, namespaces, pods = await asyncio.gather(
        removal.labelled(kube, own, removal.UNINSTALLED),
        kube.list(NAMESPACES, label_selector="linkerd.io/extension"),
        cluster.Mesh(kube, namespace).data_plane_pods(),
    )
    extensions = sorted(cluster.labels_of(body)["linkerd.io/extension"] for body in namespaces)
    # Pods of extensions go with them.
    theirs = {body["metadata"]["name"] for body in namespaces}
    names = sorted(
        cluster.full_name(pod) for pod in pods if pod["metadata"].get("namespace") not in theirs
    )
    return found, extensions, names
