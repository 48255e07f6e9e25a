"""List authorizations for a resource: the policies that say who may call it.

Example:
  linkerd authz -n emojivoto deploy/web
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from linkerd.cli import _args

if TYPE_CHECKING:
    from linkerd.cli._authorizations import Row
    from linkerd.kube.client import KubeClient

SUMMARY = "List authorizations for a resource"
USAGE = "RESOURCE"
_HEADER = ["ROUTE", "SERVER", "AUTHORIZATION_POLICY", "SERVER_AUTHORIZATION"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "resource", metavar="RESOURCE", help="TYPE or TYPE/NAME, such as deploy/web"
    )
    _args.add_namespace(parser, "namespace of the resource; default the context's")


def run(args: argparse.Namespace) -> int:
    """Prints a row for each server of the resource's pods and each policy for it."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _tables

    config = _connect.config(args)
    namespace = args.namespace or config.namespace
    found = _connect.run(config, lambda kube: _ask(kube, args.resource, namespace))
    if not found:
        print("No authorizations found.", file=sys.stderr)
        return 0
    print(_tables.aligned([_HEADER, *(list(row) for row in found)]), end="")
    return 0


async def _ask(kube: KubeClient, resource: str, namespace: str) -> list[Row]:
    from linkerd.cli import _authorizations, _workloads

    pods = await _workloads.pods_of(kube, resource, namespace)
    return await _authorizations.of_pods(kube, pods, namespace)
