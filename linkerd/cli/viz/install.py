"""Output Kubernetes resources to install the linkerd-viz extension.

Example:
  linkerd viz install | kubectl apply -f -
"""

from __future__ import annotations

import argparse

from linkerd.cli import _args
from linkerd.errors import KubeError, UsageError

SUMMARY = "Output Kubernetes resources to install linkerd-viz extension"


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
    """Raises UsageError unless the control plane is installed.

    Unlike the original this does not wait for its pods: the manifests do not depend on them.
    """
    from linkerd.check.cluster import Mesh
    from linkerd.cli import _connect

    try:
        _connect.run(
            _connect.config(args), lambda kube: Mesh(kube, args.linkerd_namespace).config()
        )
    except KubeError as error:
        raise UsageError(
            f"Cannot connect to Kubernetes: {error.message}",
            hint="use --ignore-cluster to print the manifests without asking a cluster",
        ) from None
