"""What the commands of the embedded cluster share: which cluster, its state, its client."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from linkerd.errors import LocalError, UsageError

if TYPE_CHECKING:
    from linkerd.kube.config import KubeConfig
    from linkerd.local.paths import Paths

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--cluster`."""
    parser.add_argument(
        "--cluster", default="default", metavar="NAME", help="which local cluster (default default)"
    )


def paths(args: argparse.Namespace) -> Paths:
    """Returns the files of the cluster that `--cluster` names.

    Raises:
        UsageError: that is no name of a cluster.
    """
    from linkerd.local.paths import Paths, default_state

    if not _NAME.fullmatch(args.cluster):
        raise UsageError(
            f"{args.cluster!r} is not a valid cluster name",
            hint="use up to 32 lower-case letters, digits and dashes",
        )
    return Paths(default_state(args.cluster))


def existing(args: argparse.Namespace) -> Paths:
    """Returns the files of a cluster that was started before.

    Raises:
        UsageError: that is no name of a cluster.
        LocalError: it was never started.
    """
    found = paths(args)
    if not found.kubeconfig.exists():
        raise LocalError(
            f"there is no local cluster {args.cluster!r}", hint="`linkerd local start` makes one"
        )
    return found


def context(args: argparse.Namespace) -> str:
    """Returns the name of the cluster's context in the user's kubeconfig."""
    return "linkerd-local" if args.cluster == "default" else f"linkerd-local-{args.cluster}"


def config(args: argparse.Namespace) -> KubeConfig:
    """Returns the cluster's own configuration, unless the flags name another.

    Raises:
        LocalError: the cluster was never started.
    """
    from linkerd.cli import _connect

    if not args.kubeconfig and not args.context:
        args.kubeconfig = str(existing(args).kubeconfig)
    return _connect.config(args)
