"""Output Kubernetes configs to install Linkerd.

Examples:
  # Install the CRDs, then the control plane.
  linkerd install --crds | kubectl apply -f -
  linkerd install | kubectl apply -f -

  # The same in one step: the CRDs come first when the cluster has none.
  linkerd install | kubectl apply -f -

Nothing is applied: pipe the output to kubectl, or to `linkerd local apply -f -`.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from linkerd.errors import PkiError, UsageError

SUMMARY = "Output Kubernetes configs to install Linkerd"
_FILES = {
    "identity-trust-anchors-file": "trust_anchors_pem",
    "identity-issuer-certificate-file": "issuer_cert_pem",
    "identity-issuer-key-file": "issuer_key_pem",
}


_CRDS_FIRST = "The cluster has no Linkerd CRDs: they are printed before the control plane."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli import _chart_flags
    from linkerd.install import flags

    parser.add_argument("--crds", action="store_true", help="print the CRDs instead")
    parser.add_argument("--ha", action="store_true", help="values for high availability")
    parser.add_argument("--ignore-cluster", action="store_true", help="do not ask the cluster")
    add_credentials(parser)
    _chart_flags.add_helm_flags(parser)
    _chart_flags.add_flags(
        parser,
        (*flags.CONTROL_PLANE, *flags.PROXY),
        "disable-h2-upgrade",
        "identity-external-issuer",
    )


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that name files with credentials."""
    for name, field in _FILES.items():
        parser.add_argument(f"--{name}", dest=field, metavar="FILE", help="PEM file")


def credentials(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the texts of the files with credentials that the user named, by field.

    Raises:
        UsageError: a file cannot be read, or holds something else; names it.
    """
    from linkerd.cli import _chart_flags
    from linkerd.pki import keys, trust

    found = {}
    for name, field in _FILES.items():
        path = getattr(args, field)
        if not path:
            continue
        found[field] = _chart_flags.read(path)
        try:
            (keys.parse if name.endswith("key-file") else trust.parse_bundle)(found[field])
        except PkiError:
            what = "private key" if name.endswith("key-file") else "certificate"
            raise UsageError(f"--{name}: {path} holds no {what} in PEM format") from None
    return found


def run(args: argparse.Namespace) -> int:
    """Prints the manifests."""
    from linkerd.cli import _chart_flags, _install
    from linkerd.install import flags, install

    user_values = _chart_flags.helm_values(args)
    flag_values = flags.values(_chart_flags.given(args))
    pems = credentials(args)
    seen = _install.Seen() if args.ignore_cluster else _install.look(args)
    if args.crds:
        print("Rendering Linkerd CRDs...", file=sys.stderr)
        print(
            "Next, run `linkerd install | kubectl apply -f -` to install the control plane.\n",
            file=sys.stderr,
        )
        text = install.render_crds(user_values, namespace=args.linkerd_namespace)
    else:
        options = install.InstallOptions(
            namespace=args.linkerd_namespace,
            ha=args.ha,
            flag_values=flag_values,
            user_values=user_values,
            kube_api_ports=seen.api_ports,
            **pems,
        )
        text = install.render_control_plane(options)
        if not seen.has_crds:
            print(_CRDS_FIRST, file=sys.stderr)
            crds = install.render_crds(namespace=args.linkerd_namespace)
            text = f"{crds}---\n{text}"
    _chart_flags.print_manifest(text, args.output)
    return 0
