"""Change fields of objects by a patch.

Example:
  linkerd local kubectl patch deploy web -n emojivoto -p '{"spec": {"replicas": 2}}'
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linkerd.cli import _args
from linkerd.errors import RenderError, UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Change fields of objects by a patch"
USAGE = "TYPE/NAME... --patch JSON|YAML"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="+", metavar="TYPE/NAME", help="for instance deploy/web")
    parser.add_argument("-p", "--patch", required=True, metavar="TEXT", help="JSON or YAML")
    parser.add_argument("--type", choices=["strategic", "merge", "json"], default="strategic",
                        metavar="TYPE", help="strategic (the default), merge or json")  # fmt: skip
    _args.add_namespace(parser, "namespace of the objects")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Sends it; custom resources know no strategic patch and get a merge."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster, _objects
    from linkerd.inject import manifest
    from linkerd.kube import client

    try:
        body = manifest.parse(args.patch)
    except RenderError as error:
        raise UsageError(f"--patch: {error.message}") from None
    if isinstance(body, list) is not (args.type == "json") or not isinstance(body, dict | list):
        raise UsageError("--patch is a list of operations for --type json, else a mapping")
    config = _cluster.config(args)
    namespace = args.namespace or config.namespace
    types = {"strategic": client.STRATEGIC, "merge": client.MERGE, "json": client.JSON}

    async def main(kube: KubeClient) -> int:
        for one in await _objects.find(kube, args.words, namespace):
            own = "merge" if args.type == "strategic" and "." in one.resource.group else args.type
            await kube.patch(one.resource, one.name, body, one.namespace, type=types[own])
            print(f"{one} patched")
        return 0

    return _connect.run(config, main)
