"""Checks of the CNI plugin, which redirects pods' traffic instead of an init container.

Source: linkerd2 pkg/healthcheck/healthcheck.go (questions, order, names of objects).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from linkerd.check import cluster
from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category, Check, Skip
from linkerd.errors import CheckFailed
from linkerd.kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DAEMON_SETS,
    NODES,
    PODS,
    SERVICE_ACCOUNTS,
)

_NAME = "linkerd-cni"
_CONFIG = "linkerd-cni-config"
_PODS = "k8s-app=linkerd-cni"

_Probe = Callable[[], Awaitable[None]]


def plugin(mesh: Mesh, *, before_install: bool = False) -> Category:
    """Category linkerd-cni-plugin.

    Args:
        mesh: Where to look.
        before_install: There are no settings yet that say whether the plugin is used: it is.
    """

    async def asked() -> None:
        if not before_install and not (await mesh.config()).get("cniEnabled"):
            raise Skip

    def check(question: str, anchor: str, probe: _Probe, *, retry: bool = False) -> Check:
        async def ask() -> None:
            await asked()
            await probe()

        return Check(question, f"cni-plugin-{anchor}", ask, fatal=True, retry=retry, surface=retry)

    ns = mesh.cni_namespace
    require = mesh.require
    return Category(
        "linkerd-cni-plugin",
        (
            check(
                "cni plugin ConfigMap exists",
                "cm-exists",
                partial(require, CONFIG_MAPS, [_CONFIG], ns),
            ),
            check(
                "cni plugin ClusterRole exists",
                "cr-exists",
                partial(require, CLUSTER_ROLES, [_NAME]),
            ),
            check(
                "cni plugin ClusterRoleBinding exists",
                "crb-exists",
                partial(require, CLUSTER_ROLE_BINDINGS, [_NAME]),
            ),
            check(
                "cni plugin ServiceAccount exists",
                "sa-exists",
                partial(require, SERVICE_ACCOUNTS, [_NAME], ns),
            ),
            check(
                "cni plugin DaemonSet exists",
                "ds-exists",
                partial(require, DAEMON_SETS, [_NAME], ns),
            ),
            check(
                "cni plugin pod is running on all nodes",
                "ready",
                partial(_everywhere, mesh),
                retry=True,
            ),
        ),
    )


async def _everywhere(mesh: Mesh) -> None:
    body = await mesh.kube.get(DAEMON_SETS, _NAME, mesh.cni_namespace)
    status = body.get("status") or {}
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    nodes = len(await mesh.kube.list(NODES))
    if not wanted or ready < wanted:
        raise CheckFailed(f"number ready: {ready}, number scheduled: {wanted}, nodes: {nodes}")
    pods = await mesh.kube.list(PODS, mesh.cni_namespace, label_selector=_PODS)
    cluster.require_ready(pods)
