"""Kubernetes objects and samples in the words of the tests."""

from __future__ import annotations

from typing import Any

import msgspec

from linkerd.viz.cluster import Cluster
from linkerd.viz.objects import Pod, Service, Workload
from linkerd.viz.prometheus import Sample

IDENTITY = "$(_pod_sa).$(_pod_ns).serviceaccount.identity.linkerd.cluster.local"


def owner(kind: str, name: str) -> list[dict[str, Any]]:
    """The reference to a controlling owner."""
    return [{"apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": True}]


def a_pod(
    name: str,
    *,
    namespace: str = "emojivoto",
    phase: str = "Running",
    meshed: bool = True,
    owned_by: tuple[str, str] | None = None,
    account: str = "default",
    statuses: list[dict[str, Any]] | None = None,
    labels: dict[str, str] | None = None,
) -> Pod:
    """A pod as the API sends it."""
    own = dict(labels or {})
    containers: list[dict[str, Any]] = [{"name": "app", "image": "app:v1"}]
    if meshed:
        own["linkerd.io/control-plane-ns"] = "linkerd"
        env = [
            {"name": "_pod_ns", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "value": IDENTITY},
        ]
        containers.append({"name": "linkerd-proxy", "image": "cr/proxy:v2", "env": env})
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": own,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": owner(*owned_by) if owned_by else None,
            },
            "spec": {"containers": containers, "serviceAccountName": account},
            "status": {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": statuses},
        },
        Pod,
    )


def a_workload(name: str, *, namespace: str = "emojivoto", owned_by: Any = None) -> Workload:
    """An object of which only the metadata counts."""
    references = owner(*owned_by) if owned_by else None
    meta = {"name": name, "namespace": namespace, "ownerReferences": references}
    return msgspec.convert({"metadata": meta, "spec": {"replicas": 1}}, Workload)


def a_service(name: str, selector: dict[str, str], *, namespace: str = "emojivoto") -> Service:
    """A service."""
    meta = {"name": name, "namespace": namespace}
    return msgspec.convert({"metadata": meta, "spec": {"selector": selector}}, Service)


def emojivoto() -> Cluster:
    """A deployment `web` with two meshed pods and one that failed; an unmeshed `vote-bot`."""
    cluster = Cluster()
    cluster.reset("namespace", [a_workload("emojivoto", namespace="")])
    cluster.reset("deployment", [a_workload("web"), a_workload("vote-bot")])
    cluster.reset(
        "replicaset",
        [
            a_workload("web-1", owned_by=("Deployment", "web")),
            a_workload("vote-bot-1", owned_by=("Deployment", "vote-bot")),
        ],
    )
    cluster.reset("service", [a_service("web-svc", {"app": "web"})])
    web = ("ReplicaSet", "web-1")
    cluster.reset(
        "pod",
        [
            a_pod("web-1-a", owned_by=web, account="web", labels={"app": "web"}),
            a_pod("web-1-b", owned_by=web, account="web"),
            a_pod("web-1-c", owned_by=web, phase="Failed"),
            a_pod("vote-bot-1-a", owned_by=("ReplicaSet", "vote-bot-1"), meshed=False),
        ],
    )
    return cluster


def sample(value: float, **labels: str) -> Sample:
    """One sample."""
    return Sample(labels, value)
