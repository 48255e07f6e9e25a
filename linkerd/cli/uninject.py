"""Remove the Linkerd proxy from a Kubernetes config.

Examples:
  # Uninject all the deployments in the default namespace.
  kubectl get deploy -o yaml | linkerd uninject - | kubectl apply -f -
"""

from __future__ import annotations

import argparse

from linkerd.cli import inject

SUMMARY = "Remove the Linkerd proxy from a Kubernetes config"
USAGE = "CONFIG-FILE"
configure = inject.add_source


def run(args: argparse.Namespace) -> int:
    """Prints the documents without the proxy; the report goes to stderr."""
    from linkerd.cli import _inject
    from linkerd.inject import documents, report

    return _inject.transform(
        _inject.sources(args),
        lambda text: documents.uninject_text(text, output=args.output),
        report.uninjected,
    )
