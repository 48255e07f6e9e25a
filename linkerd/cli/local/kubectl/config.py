"""Show the local cluster's kubeconfig: `view`, `current-context` or `get-contexts`."""

from __future__ import annotations

import argparse

SUMMARY = "Show the local cluster's kubeconfig"
USAGE = "view|current-context|get-contexts"
_SECRET = ("token", "client-key-data")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    words = ["view", "current-context", "get-contexts"]
    parser.add_argument("action", choices=words, metavar="|".join(words), help="")
    parser.add_argument("--raw", action="store_true", help="with certificates and secrets")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints it."""
    from linkerd.cli.local import _cluster
    from linkerd.inject import manifest

    text = _cluster.existing(args).kubeconfig.read_text()
    body = next(iter(manifest.parse_all(text)))
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
