"""What `install` and `upgrade` ask of the cluster before they print anything.

Source: linkerd2 cli/cmd/install.go, upgrade.go (what is refused, texts). Unlike the original,
`install` without CRDs in the cluster is no error: releases before 2.12 printed everything at once,
and so do we then.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from linkerd.cli import _connect
from linkerd.errors import KubeError, LinkerdError, UsageError
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    PODS,
    SECRETS,
    SERVICES,
)

_CRD = "servers.policy.linkerd.io"

T = TypeVar("T")


class Seen(NamedTuple):
    """What `install` needs to know of the cluster; the defaults are those of an unknown one.

    `api_ports` are the ports of the API's own service, which proxies must leave alone.
    """

    api_ports: tuple[int, ...] = ()
    has_crds: bool = True


def look(args: argparse.Namespace) -> Seen:
    """Returns what the cluster is like.

    Raises:
        UsageError: the control plane is there already, or there is no cluster.
    """
    return _ask(
        args,
        lambda kube: _look(kube, args.linkerd_namespace),
        hint="use --ignore-cluster to print the manifests without asking a cluster",
    )


def stored(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings that the installation was made with.

    Raises:
        UsageError: there is none that this command made, or there is no cluster.
    """
    from linkerd.install import upgrade

    secret = _ask(
        args, lambda kube: kube.get_or_none(SECRETS, upgrade.SECRET, args.linkerd_namespace)
    )
    if secret is None:
        raise UsageError(
            f'secrets "{upgrade.SECRET}" not found in namespace {args.linkerd_namespace}',
            hint="If Linkerd was installed with Helm, upgrade it with Helm.",
        )
    return upgrade.stored(secret)


def require_trust(args: argparse.Namespace, values: Mapping[str, Any]) -> None:
    """Raises UsageError naming the pods whose proxies would not trust the issuer in `values`."""
    from linkerd.install import upgrade

    selector = f"linkerd.io/control-plane-ns={args.linkerd_namespace}"
    pods = _ask(args, lambda kube: kube.list(PODS, label_selector=selector))
    names = upgrade.distrusting(pods, values, datetime.now(UTC))
    if names:
        lines = "\n".join(f"\t* {name}" for name in names)
        raise UsageError(
            "the issuer certificate does not validate against the trust anchors of the following "
            f"pods:\n{lines}",
            hint="Restart them with the current trust anchors first, or use --force to go on.",
        )


def _ask(
    args: argparse.Namespace,
    question: Callable[[KubeClient], Coroutine[Any, Any, T]],
    *,
    hint: str | None = None,
) -> T:
    try:
        return _connect.run(_connect.config(args), question)
    except (KubeError, TimeoutError) as error:
        text = error.message if isinstance(error, LinkerdError) else "no answer"
        raise UsageError(
            f"Unable to connect to the Kubernetes cluster: {text}", hint=hint
        ) from None


async def _look(kube: KubeClient, namespace: str) -> Seen:
    config, crd, api = await asyncio.gather(
        kube.get_or_none(CONFIG_MAPS, "linkerd-config", namespace),
        kube.get_or_none(CUSTOM_RESOURCE_DEFINITIONS, _CRD),
        kube.get_or_none(SERVICES, "kubernetes", "default"),
    )
    if config is not None:
        raise UsageError(
            f"Can't install the Linkerd control plane in the '{namespace}' namespace. "
            "Reason: ConfigMap/linkerd-config already exists.",
            hint="to change it, use `linkerd upgrade`; to print the manifests anyway, "
            "use the --ignore-cluster flag",
        )
    ports = tuple(port["port"] for port in api["spec"].get("ports") or ()) if api else ()
    return Seen(ports, crd is not None)
