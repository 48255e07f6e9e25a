"""Output Kubernetes configs to upgrade an existing Linkerd control plane.

The settings of the installation are kept: those given here are laid over them. What an older
release had and this one has not is named by `linkerd prune`.

Examples:
  # Upgrade the CRDs, then the control plane, then remove what is left over.
  linkerd upgrade --crds | kubectl apply -f -
  linkerd upgrade | kubectl apply -f -
  linkerd prune | kubectl delete -f -
"""

from __future__ import annotations

import argparse
import sys

from linkerd.cli import install as installing
from linkerd.errors import LinkerdError

SUMMARY = "Output Kubernetes configs to upgrade an existing Linkerd control plane"
_HELP = "For troubleshooting help, visit: https://linkerd.io/upgrade/#troubleshooting"
_ONCE = {"cluster-domain", "identity-trust-domain", "identity-external-ca"}
"""Flags that only an installation takes: proxies in use would not follow."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli import _chart_flags
    from linkerd.install import flags

    parser.add_argument("--crds", action="store_true", help="print the CRDs instead")
    parser.add_argument("--ha", action="store_true", help="values for high availability")
    parser.add_argument(
        "--from-manifests", metavar="FILE", help="take the settings from a saved manifest, or -"
    )
    parser.add_argument(
        "--force", action="store_true", help="go on when running proxies would not trust the issuer"
    )
    installing.add_credentials(parser)
    _chart_flags.add_helm_flags(parser)
    kept = [flag for flag in flags.CONTROL_PLANE if flag.name not in _ONCE]
    _chart_flags.add_flags(parser, (*kept, *flags.PROXY), "disable-h2-upgrade")


def run(args: argparse.Namespace) -> int:
    """Prints the manifests."""
    try:
        text = _render(args)
    except LinkerdError as error:
        print(
            f"× {error.message}", *([error.hint] if error.hint else []), sep="\n", file=sys.stderr
        )
        print(_HELP, file=sys.stderr)
        return 1
    from linkerd.cli import _chart_flags

    _chart_flags.print_manifest(text, args.output)
    return 0


def _render(args: argparse.Namespace) -> str:
    from linkerd.cli import _chart_flags, _install
    from linkerd.install import flags, install, upgrade

    user_values = _chart_flags.helm_values(args)
    given = _chart_flags.given(args)
    if args.crds:
        return install.render_crds(user_values, namespace=args.linkerd_namespace)
    pems = installing.credentials(args)
    if args.from_manifests:
        stored = upgrade.stored_in(_chart_flags.read(args.from_manifests))
    else:
        stored = _install.stored(args)
    settings = upgrade.with_credentials(stored, **pems)
    if pems and not args.force and not args.from_manifests:
        _install.require_trust(args, settings)
    if pems.get("trust_anchors_pem"):
        print(
            "‼ The trust anchors change: running proxies keep the old ones until they restart.\n"
            "  see https://linkerd.io/2/tasks/manually-rotating-control-plane-tls-credentials/",
            file=sys.stderr,
        )
    options = install.InstallOptions(
        namespace=args.linkerd_namespace,
        ha=args.ha,
        stored=settings,
        flag_values=flags.values(given),
        user_values=user_values,
    )
    return install.render_control_plane(options)
