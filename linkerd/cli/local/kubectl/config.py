"""Show the local cluster's kubeconfig, or choose its namespace.

Examples:
  linkerd local kubectl config view
  linkerd local kubectl config set-context --current --namespace emojivoto
"""

from __future__ import annotations

import argparse

from linkerd.cli import _args
from linkerd.errors import UsageError

SUMMARY = "Show the local cluster's kubeconfig, or choose its namespace"
USAGE = "view|current-context|get-contexts|set-context --current --namespace NS"
_SECRET = ("token", "client-key-data")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    words = ["view", "current-context", "get-contexts", "set-context"]
    parser.add_argument("action", choices=words, metavar="ACTION", help=", ".join(words))
    parser.add_argument("--current", action="store_true", help="the only context there is")
    parser.add_argument("--minify", action="store_true", help="the same here")
    _args.add_namespace(parser, "of set-context: where commands look that name none")
    parser.add_argument("--raw", action="store_true", help="with certificates and secrets")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints or changes it."""
    from linkerd.cli.local import _cluster
    from linkerd.inject import manifest

    file = _cluster.existing(args).kubeconfig
    body = next(iter(manifest.parse_all(file.read_text())))
    if args.action == "set-context":
        if not args.current or not args.namespace:
            raise UsageError("expected set-context --current --namespace NS")
        for entry in body["contexts"]:
            entry["context"]["namespace"] = args.namespace
        file.write_text(manifest.render(body))
        print(f'Context "{body["current-context"]}" modified.')
        return 0
    if args.action == "current-context":
        print(body["current-context"])
    elif args.action == "get-contexts":
        print("\n".join(entry["name"] for entry in body["contexts"]))
    else:
        for entry in () if args.raw else body["users"]:
            entry["user"] = {k: "REDACTED" if k in _SECRET else v for k, v in entry["user"].items()}
        for entry in () if args.raw else body["clusters"]:
            if "certificate-authority-data" in entry["cluster"]:
                entry["cluster"]["certificate-authority-data"] = "DATA+OMITTED"
        print(manifest.render(body), end="")
    return 0
