"""Checks of Kubernetes itself, and of what `install` will be allowed to do.

Source: linkerd2 pkg/healthcheck/healthcheck.go (questions, order, texts).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from linkerd.check import cluster
from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category, Check, failed
from linkerd.errors import CheckFailed, Conflict, KubeError, NotFound
from linkerd.kube.resources import (
    CONFIG_MAPS,
    NAMESPACES,
    NODES,
    SELF_SUBJECT_ACCESS_REVIEWS,
)

MINIMUM = (1, 31, 0)
_SKEW_ALLOWED_S = 310.0
_NO_CLUSTER = "is the cluster running? `linkerd local start` starts one on this machine"

#: (question, verb, API group, plural).
_ACCESS = (
    ("can create ServiceAccounts", "create", "", "serviceaccounts"),
    ("can create Services", "create", "", "services"),
    ("can create Deployments", "create", "apps", "deployments"),
    ("can create CronJobs", "create", "batch", "cronjobs"),
    ("can create ConfigMaps", "create", "", "configmaps"),
    ("can create Secrets", "create", "", "secrets"),
    ("can read Secrets", "get", "", "secrets"),
)

Manifests = Callable[[], Iterable[dict[str, Any]]]


def api(mesh: Mesh) -> Category:
    """Category kubernetes-api; that the client exists is known when this runs."""

    async def initialized() -> None:
        if not mesh.kube.config.server:
            raise CheckFailed("the kubeconfig names no server")

    async def queried() -> None:
        await cluster.version_of(mesh.kube)

    return Category(
        "kubernetes-api",
        (
            Check("can initialize the client", "k8s-api", initialized, fatal=True),
            Check(
                "can query the Kubernetes API", "k8s-api", queried, fatal=True, remedy=_NO_CLUSTER
            ),
        ),
    )


def version(mesh: Mesh) -> Category:
    """Category kubernetes-version."""

    async def recent() -> None:
        found = await cluster.version_of(mesh.kube)
        if found < MINIMUM:
            raise CheckFailed(
                f"Kubernetes is on version [{_dotted(found)}], "
                f"but version [{_dotted(MINIMUM)}] or more recent is required"
            )

    question = "is running the minimum Kubernetes API version"
    return Category("kubernetes-version", (Check(question, "k8s-version", recent),))


def before_install(mesh: Mesh, manifests: Manifests) -> Category:
    """Category pre-kubernetes-setup; `manifests` renders what `install` would print."""
    access = [
        Check(question, "pre-k8s", partial(_may, mesh, verb, group, plural))
        for question, verb, group, plural in _ACCESS
    ]
    return Category(
        "pre-kubernetes-setup",
        (
            Check(
                "control plane namespace does not already exist",
                "pre-ns",
                partial(_absent, mesh),
                remedy="`linkerd upgrade` changes an installation, `linkerd uninstall` removes it",
            ),
            Check(
                "can create non-namespaced resources",
                "pre-k8s-cluster-k8s",
                partial(_may_create_cluster_wide, mesh, manifests),
            ),
            *access,
            Check(
                "can read extension-apiserver-authentication configmap",
                "pre-k8s",
                partial(_extension_authentication, mesh),
            ),
            Check(
                "no clock skew detected",
                "pre-k8s-clock-skew",
                partial(_no_skew, mesh),
                warning=True,
            ),
        ),
    )


async def _absent(mesh: Mesh) -> None:
    if await mesh.kube.get_or_none(NAMESPACES, mesh.namespace) is not None:
        raise CheckFailed(f"The {mesh.namespace} namespace already exists")


async def _may_create_cluster_wide(mesh: Mesh, manifests: Manifests) -> None:
    problems = []
    for body in await asyncio.to_thread(lambda: list(manifests())):
        resource = await mesh.kube.resource_for(body["apiVersion"], body["kind"])
        if resource.namespaced:
            continue
        try:
            await mesh.kube.create(resource, body, dry_run=True)
        except Conflict:
            continue
        except KubeError as error:
            problems.append(f"cannot create {body['kind']}/{body['metadata']['name']}: {error}")
    if problems:
        raise CheckFailed("\n".join(problems))


async def _may(mesh: Mesh, verb: str, group: str, plural: str) -> None:
    attributes = {"namespace": mesh.namespace, "verb": verb, "group": group, "resource": plural}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    status = (await mesh.kube.create(SELF_SUBJECT_ACCESS_REVIEWS, review)).get("status") or {}
    if not status.get("allowed"):
        reason = f": {status['reason']}" if status.get("reason") else ""
        raise CheckFailed(f"not authorized to {verb} {plural}.{group or 'core'}{reason}")


async def _extension_authentication(mesh: Mesh) -> None:
    name = "extension-apiserver-authentication"
    try:
        body = await mesh.kube.get(CONFIG_MAPS, name, "kube-system")
    except NotFound:
        raise CheckFailed(f"configmap kube-system/{name} does not exist") from None
    if not (body.get("data") or {}).get("requestheader-client-ca-file"):
        raise CheckFailed(f"--requestheader-client-ca-file is not configured in kube-system/{name}")


async def _no_skew(mesh: Mesh) -> None:
    now = datetime.now(UTC)
    skewed = []
    for node in await mesh.kube.list(NODES):
        for condition in (node.get("status") or {}).get("conditions") or ():
            beat = condition.get("lastHeartbeatTime")
            if condition["type"] != "Ready" or not beat:
                continue
            ahead_s = (datetime.fromisoformat(beat) - now).total_seconds()
            if abs(ahead_s) > _SKEW_ALLOWED_S:
                skewed.append(f"{node['metadata']['name']}: {-ahead_s:.0f}s behind this machine")
    if skewed:
        raise failed("clock skew detected for node(s):", skewed)


def _dotted(found: Iterable[int]) -> str:
    return ".".join(map(str, found))
