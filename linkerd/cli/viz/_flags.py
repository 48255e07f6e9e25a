"""Flags and arguments that several viz commands share.

Source: linkerd2 viz/cmd/stat.go (names, which exclude each other, texts).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.gen import viz_pb2 as pb
    from linkerd.viz.kinds import Target


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flag of all viz commands."""
    parser.add_argument(
        "--viz-namespace", metavar="NS", help="namespace of the extension; found by its label"
    )


def add_peer(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that narrow traffic by its other end."""
    parser.add_argument("--to", metavar="RESOURCE", help="only traffic to this resource")
    parser.add_argument("--to-namespace", metavar="NS", help="namespace of --to")
    parser.add_argument(
        "--from", dest="source", metavar="RESOURCE", help="only traffic from this resource"
    )
    parser.add_argument(
        "--from-namespace", dest="source_namespace", metavar="NS", help="namespace of --from"
    )


def targets(args: argparse.Namespace) -> list[Target]:
    """Returns what the arguments select.

    Raises:
        UsageError: they select nothing, or flags exclude each other.
    """
    from linkerd.viz import kinds

    found = kinds.targets(args.resources)
    if args.to and args.source:
        raise UsageError("--to and --from flags are mutually exclusive")
    if args.to_namespace and args.source_namespace:
        raise UsageError("--to-namespace and --from-namespace flags are mutually exclusive")
    if any(target.kind == "namespace" for target in found):
        for flag, value in (
            ("to-namespace", args.to_namespace),
            ("from-namespace", args.source_namespace),
        ):
            if value:
                raise UsageError(f"--{flag} flag is incompatible with namespace resource type")
    if args.all_namespaces and any(target.name for target in found):
        raise UsageError("stats for a resource cannot be retrieved by name across all namespaces")
    return found


def peers(
    args: argparse.Namespace, namespace: str
) -> tuple[pb.Resource | None, pb.Resource | None]:
    """Returns the resources of `--to…` and `--from…`; None where none is named."""
    to = _peer(args.to, args.to_namespace, namespace)
    return to, _peer(args.source, args.source_namespace, namespace)


def _peer(word: str | None, own_namespace: str | None, namespace: str) -> pb.Resource | None:
    from linkerd.gen import viz_pb2 as pb
    from linkerd.viz import kinds

    if not word and not own_namespace:
        return None
    if not word:
        return pb.Resource(type="namespace", name=own_namespace or "")
    target = kinds.targets([word])[0]
    where = "" if target.kind == "namespace" else own_namespace or namespace
    return pb.Resource(namespace=where, type=target.kind, name=target.name)
