"""Create or change objects of the local cluster from files, folders, `-` or https addresses.

Example:
  linkerd install | linkerd local apply -f -
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import LinkerdError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Create or change objects of the local cluster from files"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument(
        "-f", "--filename", action="append", required=True, metavar="FILE",
        help="file, folder, - or https address; may be repeated",
    )  # fmt: skip
    _args.add_namespace(parser, "namespace of objects that name none")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Applies every object and prints what became of it; 1 when one was refused.

    Nothing is applied when a document is broken or names a kind that there is not.
    """
    from linkerd.cli import _connect, _manifests
    from linkerd.cli.local import _cluster

    config = _cluster.config(args)
    bodies = [body for source in args.filename for body in _manifests.objects(source)]
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        from linkerd.cli.local import _apply

        wrong = await _apply.unknown(kube, bodies)
        for body, error in wrong:
            _tell(body, error)
        if wrong:
            return 1
        failed = 0
        async for body, outcome in _apply.apply(kube, bodies, namespace):
            failed |= isinstance(outcome, LinkerdError)
            _tell(body, outcome)
        return int(failed)

    return _connect.run(config, main)


def _tell(body: dict[str, Any], outcome: str | LinkerdError) -> None:
    group = body["apiVersion"].rpartition("/")[0]
    kind = f"{body['kind'].lower()}.{group}" if group else body["kind"].lower()
    name = f"{kind}/{body['metadata']['name']}"
    if isinstance(outcome, LinkerdError):
        print(f"Error: {name}: {outcome.message}", file=sys.stderr)
    else:
        print(f"{name} {outcome}", flush=True)
