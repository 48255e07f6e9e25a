"""Pods and their proxies' start times → the list that ListPods answers with. Pure.

Source: linkerd2 viz/metrics-api/grpc_server.go (ListPods), controller/k8s/api.go (which labels).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from google.protobuf.duration_pb2 import Duration

from linkerd.gen import viz_pb2 as pb
from linkerd.viz.cluster import Cluster
from linkerd.viz.objects import COMPONENT, CONTROL_PLANE_NS, Pod
from linkerd.viz.prometheus import Sample
from linkerd.viz.queries import Object
from linkerd.viz.selector import Selector

_OWNER = {
    "deployment": "deployment",
    "replicaset": "replica_set",
    "replicationcontroller": "replication_controller",
    "statefulset": "stateful_set",
    "daemonset": "daemon_set",
    "job": "job",
}


def pods(
    cluster: Cluster,
    selected: Object,
    started: Iterable[Sample],
    *,
    matches: Selector,
    ignored_namespaces: Collection[str],
    control_plane_ns: str,
    now: float,
) -> list[pb.Pod]:
    """Returns the selected pods, ordered by namespace and name.

    Args:
        cluster: The objects there are.
        selected: An empty kind selects all pods.
        started: When each pod's proxy started, in Unix seconds.
        matches: Selects by the pods' labels.
        ignored_namespaces: Namespaces whose pods are left out.
        control_plane_ns: Only its own and its meshed pods are `added`.
        now: Unix seconds.
    """
    starts = {
        (sample.labels.get("namespace", ""), sample.labels.get("pod", "")): sample.value
        for sample in started
    }
    found = []
    for pod in _selected(cluster, selected):
        meta = pod.metadata
        labels = meta.labels or {}
        if meta.namespace in ignored_namespaces or not matches(labels):
            continue
        start = starts.get((meta.namespace, meta.name))
        proxy = pod.proxy
        item = pb.Pod(
            name=f"{meta.namespace}/{meta.name}",
            podIP=pod.status.pod_ip,
            status=pod.display_status,
            added=start is not None and pod.meshed(control_plane_ns),
            controllerNamespace=labels.get(CONTROL_PLANE_NS, ""),
            controlPlane=COMPONENT in labels,
            proxyReady=pod.proxy_ready,
            proxyVersion=proxy.image.rpartition(":")[2] if proxy is not None else "",
            resourceVersion=meta.resource_version,
        )
        if start is not None:
            item.uptime.CopyFrom(Duration(seconds=max(0, int(now - start))))
        for kind, namespace, name in cluster.owners(pod):
            if kind in _OWNER:
                setattr(item, _OWNER[kind], f"{namespace}/{name}")
        found.append(item)
    return sorted(found, key=lambda item: item.name)


def _selected(cluster: Cluster, selected: Object) -> Iterable[Pod]:
    if not selected.kind:
        for pod in cluster.pods():
            if not selected.namespace or pod.metadata.namespace == selected.namespace:
                yield pod
        return
    for obj in cluster.objects(selected.kind, selected.namespace, selected.name):
        yield from cluster.pods_of(selected.kind, obj)
