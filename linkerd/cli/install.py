"""Output Kubernetes configs to install Linkerd.

Examples:
  # Install the CRDs, then the control plane.
  linkerd install --crds | kubectl apply -f -
  linkerd install | kubectl apply -f -

Nothing is applied: pipe the output to kubectl, or to `linkerd local apply -f -`.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

SUMMARY = "Output Kubernetes configs to install Linkerd"
_FILES = {
    "identity-trust-anchors-file": "trust_anchors_pem",
    "identity-issuer-certificate-file": "issuer_cert_pem",
    "identity-issuer-key-file": "issuer_key_pem",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli import _chart_flags
    from linkerd.install import flags

    parser.add_argument("--crds", action="store_true", help="print the CRDs instead")
    parser.add_argument("--ha", action="store_true", help="values for high availability")
    parser.add_argument("--ignore-cluster", action="store_true", help="do not ask the cluster")
    for name, field in _FILES.items():
        parser.add_argument(f"--{name}", dest=field, metavar="FILE", help="PEM file")
    _chart_flags.add_helm_flags(parser)
    _chart_flags.add_flags(
        parser,
        (*flags.CONTROL_PLANE, *flags.PROXY),
        "disable-h2-upgrade",
        "identity-external-issuer",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the manifests."""
    from linkerd.cli import _chart_flags, _install
    from linkerd.install import flags, install

    ports = () if args.ignore_cluster else _install.look(args)
    user_values = _chart_flags.helm_values(args)
    if args.crds:
        print("Rendering Linkerd CRDs...", file=sys.stderr)
        print(
            "Next, run `linkerd install | kubectl apply -f -` to install the control plane.\n",
            file=sys.stderr,
        )
        text = install.render_crds(user_values, namespace=args.linkerd_namespace)
    else:
        pems: dict[str, Any] = {
            field: _chart_flags.read(path)
            for field in _FILES.values()
            if (path := getattr(args, field))
        }
        options = install.InstallOptions(
            namespace=args.linkerd_namespace,
            ha=args.ha,
            flag_values=flags.values(_chart_flags.given(args)),
            user_values=user_values,
            kube_api_ports=ports,
            **pems,
        )
        text = install.render_control_plane(options)
    _chart_flags.print_manifest(text, args.output)
    return 0
