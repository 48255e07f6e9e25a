"""Add the Linkerd proxy to a Kubernetes config.

You can inject resources contained in a single file, inside a folder and its sub-folders, or coming
from stdin. Without --manual only annotations are added, and the proxy injector does the rest.

Examples:
  # Inject all the deployments in the emojivoto namespace.
  kubectl get -n emojivoto deploy -o yaml | linkerd inject - | kubectl apply -f -

  # Inject all the resources inside a folder and its sub-folders.
  linkerd inject <folder> | kubectl apply -f -
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linkerd.inject.config import Config

SUMMARY = "Add the Linkerd proxy to a Kubernetes config"
USAGE = "CONFIG-FILE"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli import _chart_flags
    from linkerd.install import flags

    add_source(parser)
    parser.add_argument("--manual", action="store_true", help="print the whole sidecar")
    parser.add_argument("--ignore-cluster", action="store_true", help="do not ask the cluster")
    parser.add_argument("--ingress", action="store_true", help="ingress mode")
    parser.add_argument(
        "--close-wait-timeout", dest="value:close-wait-timeout", metavar="TIME",
        help="nf_conntrack_tcp_timeout_close_wait",
    )  # fmt: skip
    _chart_flags.add_flags(parser, (*flags.PROXY, *flags.INJECT), "enable-debug-sidecar")


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds the argument and the format of inject and uninject."""
    parser.add_argument("source", nargs="?", metavar="CONFIG-FILE", help="file, folder, - or https")
    parser.add_argument(
        "-o", "--output", choices=["yaml", "json"], default="yaml", metavar="FORMAT",
        help="yaml or json (default yaml)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Prints the documents with the proxy; the report goes to stderr."""
    from linkerd import VERSION
    from linkerd.cli import _chart_flags, _inject
    from linkerd.inject import documents, keys, report
    from linkerd.install import flags

    texts = _inject.sources(args)
    given = _chart_flags.given(args)
    flags.values(given)
    mode = keys.INGRESS if args.ingress else keys.ENABLED
    options = documents.Options(
        annotations={keys.INJECT: mode, **flags.pod_annotations(given)},
        manual=args.manual,
        config=_config(args),
        created_by=f"linkerd/cli {VERSION}",
    )

    def told(reports: list[Any]) -> str:
        return report.injected(reports, verbose=args.verbose)

    return _inject.transform(
        texts, lambda text: documents.inject_text(text, options, output=args.output), told
    )


def _config(args: argparse.Namespace) -> Config | None:
    if args.ignore_cluster and not args.manual:
        return None
    from linkerd.cli import _inject

    return _inject.default_config(args) if args.ignore_cluster else _inject.cluster_config(args)
