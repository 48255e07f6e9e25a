"""What `install` asks of the cluster before it prints anything.

Source: linkerd2 cli/cmd/install.go (what is refused, texts).
"""

from __future__ import annotations

import argparse
import asyncio

from linkerd.cli import _connect
from linkerd.errors import KubeError, LinkerdError, UsageError
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, SERVICES

_CRD = "servers.policy.linkerd.io"


def look(args: argparse.Namespace) -> tuple[int, ...]:
    """Returns the ports of the API's own service, which proxies must leave alone.

    Raises:
        UsageError: the control plane is there already, its CRDs are not, or there is no cluster.
    """
    try:
        return _connect.run(_connect.config(args), lambda kube: _look(kube, args))
    except (KubeError, TimeoutError) as error:
        text = error.message if isinstance(error, LinkerdError) else "no answer"
        raise UsageError(
            f"Unable to connect to the Kubernetes cluster: {text}",
            hint="use --ignore-cluster to print the manifests without asking a cluster",
        ) from None


async def _look(kube: KubeClient, args: argparse.Namespace) -> tuple[int, ...]:
    namespace = args.linkerd_namespace
    config, crd, api = await asyncio.gather(
        kube.get_or_none(CONFIG_MAPS, "linkerd-config", namespace),
        kube.get_or_none(CUSTOM_RESOURCE_DEFINITIONS, _CRD),
        kube.get_or_none(SERVICES, "kubernetes", "default"),
    )
    if config is not None:
        raise UsageError(
            f"Can't install the Linkerd control plane in the '{namespace}' namespace. "
            "Reason: ConfigMap/linkerd-config already exists.",
            hint="to print the manifests anyway, use the --ignore-cluster flag",
        )
    if crd is None and not args.crds:
        raise UsageError(
            "Linkerd CRDs must be installed first. Run linkerd install with the --crds flag."
        )
    return tuple(port["port"] for port in api["spec"].get("ports") or ()) if api else ()
