"""Output Kubernetes configs to install the Linkerd CNI plugin.

The plugin writes the redirect rules of meshed pods on each node, so that pods need no privileged
init container.

Example:
  linkerd install-cni | kubectl apply -f -
"""

from __future__ import annotations

import argparse
from typing import Any

SUMMARY = "Output Kubernetes configs to install Linkerd CNI"
_CHART = "linkerd2-cni"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli import _args, _chart_flags
    from linkerd.install import flags

    for flag in flags.CNI:
        names = (
            ["-v", "--linkerd-version"] if flag.name == "linkerd-version" else [f"--{flag.name}"]
        )
        options: dict[str, Any] = {
            "dest": f"value:{flag.name}",
            "help": _chart_flags.HELP[flag.name],
        }
        if flag.kind is bool:
            _args.add_boolean(parser, *names, default=None, **options)
        else:
            metavar = flag.name.rpartition("-")[2].upper()
            parser.add_argument(*names, type=flag.kind, metavar=metavar, **options)
    _chart_flags.add_helm_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the manifests."""
    from linkerd.cli import _chart_flags
    from linkerd.install import charts, flags

    over = flags.checked(flags.CNI, _chart_flags.given(args))
    values = charts.merge_values(over, _chart_flags.helm_values(args), keep_null=True)
    chart = charts.chart_dir(_CHART)
    text = charts.render_chart(chart, values, release=_CHART, namespace=args.cni_namespace)
    _chart_flags.print_manifest(text, args.output)
    return 0
