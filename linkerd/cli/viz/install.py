"""Output Kubernetes resources to install the linkerd-viz extension.

Example:
  linkerd viz install | kubectl apply -f -
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import LinkerdError, UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Output Kubernetes resources to install linkerd-viz extension"

_COMPONENTS = ("destination", "identity", "proxy-injector")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli import _chart_flags

    parser.add_argument("--ha", action="store_true", help="values for high availability")
    parser.add_argument(
        "--skip-checks", action="store_true", help="do not ask for a running control plane"
    )
    parser.add_argument("--ignore-cluster", action="store_true", help="do not ask the cluster")
    parser.add_argument(
        "--wait", type=_args.duration, default=300.0, metavar="TIME",
        help="how long to wait for the control plane (default 5m0s)",
    )  # fmt: skip
    parser.add_argument(
        "--viz-namespace", default="linkerd-viz", metavar="NS", help="namespace of the extension"
    )
    _chart_flags.add_helm_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the manifests."""
    from linkerd.cli import _chart_flags
    from linkerd.viz import install

    if not args.ignore_cluster and not args.skip_checks:
        _require_control_plane(args)
    text = install.render(
        _chart_flags.helm_values(args),
        namespace=args.viz_namespace,
        linkerd_namespace=args.linkerd_namespace,
        ha=args.ha,
    )
    _chart_flags.print_manifest(text, args.output)
    return 0


def _require_control_plane(args: argparse.Namespace) -> None:
    """Raises UsageError unless the control plane runs within `--wait`.

    The extension's pods are made at once when its manifests are applied: without a running
    injector they would get no proxy.
    """
    from linkerd.cli import _connect

    try:
        _connect.run(_connect.config(args), lambda kube: _wait(kube, args))
    except LinkerdError as error:
        raise UsageError(
            f"Cannot find Linkerd: {error.message}",
            hint="use --skip-checks to print the manifests all the same, --ignore-cluster without "
            "a cluster",
        ) from None


async def _wait(kube: KubeClient, args: argparse.Namespace) -> None:
    from linkerd.check.cluster import Mesh
    from linkerd.cli import _running

    mesh = Mesh(kube, args.linkerd_namespace)
    await mesh.config()
    await _running.wait(mesh, _COMPONENTS, args.wait)
