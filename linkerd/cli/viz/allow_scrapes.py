"""Output Kubernetes resources to authorize Prometheus scrapes.

For namespaces whose proxies deny by default.

Example:
  linkerd viz allow-scrapes -n emojivoto | kubectl apply -f -
"""

from __future__ import annotations

import argparse

from linkerd.cli import _args

SUMMARY = "Output Kubernetes resources to authorize Prometheus scrapes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.viz._flags import add_flags

    _args.add_namespace(parser, "namespace of the proxies")
    _args.add_output(parser, ("yaml", "json"), default="yaml")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the objects."""
    import json

    from linkerd import VERSION
    from linkerd.cli import _connect
    from linkerd.inject import manifest
    from linkerd.viz import scrapes

    config = _connect.config(args)
    namespace = _connect.namespace(args, config) or "default"
    viz = args.viz_namespace or "linkerd-viz"
    for body in scrapes.allow(namespace, viz, f"linkerd/cli {VERSION}"):
        text = json.dumps(body) + "\n" if args.output == "json" else manifest.render(body)
        print(text if args.output == "json" else f"---\n{text}", end="")
    return 0
