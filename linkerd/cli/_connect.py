"""From the global flags to a client of the cluster they mean."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient
    from linkerd.kube.config import KubeConfig

T = TypeVar("T")


def config(args: argparse.Namespace) -> KubeConfig:
    """Returns the cluster and identity that the flags name.

    Raises:
        SettingsError: there is no such configuration.
    """
    import dataclasses

    from linkerd.kube.config import load

    loaded = load(args.kubeconfig, args.context)
    if args.impersonate or args.impersonate_groups:
        loaded = dataclasses.replace(
            loaded,
            impersonate_user=args.impersonate or "",
            impersonate_groups=tuple(args.impersonate_groups),
        )
    return loaded


def run(
    config: KubeConfig, main: Callable[[KubeClient], Coroutine[Any, Any, T]], *, agent: str = ""
) -> T:
    """Runs `main` with a client of `config` to its end; `agent` completes the user agent."""
    from linkerd import VERSION
    from linkerd.kube import client

    async def session() -> T:
        async with client.KubeClient(config, user_agent=f"linkerd/{agent or VERSION}") as kube:
            return await main(kube)

    return client.run(session())


def namespace(args: argparse.Namespace, config: KubeConfig, *, all: bool = False) -> str | None:
    """Returns the namespace of `-n`, else the context's; None for `-A`.

    Raises:
        UsageError: both `-n` and `-A` are given.
    """
    if all and args.all_namespaces:
        if args.namespace:
            raise UsageError("--all-namespaces and --namespace flags are mutually exclusive")
        return None
    return args.namespace or config.namespace
