"""Print the client and server version information."""

from __future__ import annotations

import argparse

import linkerd
from linkerd.cli import _args

SUMMARY = "Print the client and server version information"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("--client", action="store_true", help="print the client's version only")
    parser.add_argument("--short", action="store_true", help="print the bare versions only")
    parser.add_argument("--proxy", action="store_true", help="print the proxies' versions too")
    _args.add_namespace(parser, "namespace whose proxies are counted; default all")


def run(args: argparse.Namespace) -> int:
    """Prints `Client version:` and `Server version:`; an absent server is no failure."""
    print(linkerd.VERSION if args.short else f"Client version: {linkerd.VERSION}")
    if args.client:
        return 0
    from linkerd.cli._versions import lines

    for line in lines(args):
        print(line)
    return 0
