"""Probes of multicluster gateways and mirrored services → the rows of Gateways. Pure.

Source: linkerd2 viz/metrics-api/gateways.go (queries, which services are paired).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from linkerd.gen import viz_pb2 as pb
from linkerd.viz import queries
from linkerd.viz.cluster import Cluster
from linkerd.viz.prometheus import Sample

_CLUSTER = "multicluster.linkerd.io/cluster-name"
_MIRRORED = "multicluster.linkerd.io/mirrored-service"
_GATEWAY = "mirror.linkerd.io/mirrored-gateway"
_BY = ("gateway_namespace", "target_cluster_name", "gateway_name")

Key = tuple[str, str, str]


def query(cluster_name: str, namespace: str, window: str) -> dict[str, str]:
    """Returns what to ask of Prometheus; empty arguments do not narrow."""
    matchers = queries.Matchers()
    matchers.equal("gateway_namespace", namespace).equal("target_cluster_name", cluster_name)
    by = ", ".join(_BY)
    found = {"alive": f"sum(gateway_alive{matchers}) by ({by})"}
    buckets = f"irate(gateway_probe_latency_ms_bucket{matchers}[{window}])"
    for name, quantile in queries.QUANTILES.items():
        found[name] = f"histogram_quantile({quantile}, sum({buckets}) by (le, {by}))"
    return found


def table(answers: Mapping[str, Iterable[Sample]], cluster: Cluster) -> pb.GatewaysTable:
    """Returns a row per gateway, ordered by cluster, namespace and name."""
    rows: dict[Key, pb.GatewaysTable.Row] = {}
    for name, samples in answers.items():
        for sample in samples:
            namespace, target, gateway = (sample.labels.get(label, "") for label in _BY)
            row = rows.setdefault(
                (target, namespace, gateway),
                pb.GatewaysTable.Row(namespace=namespace, name=gateway, cluster_name=target),
            )
            if name == "alive":
                row.alive = sample.value > 0
            else:
                setattr(row, f"latency_ms_{name}", max(0, round(sample.value)))
    for row in rows.values():
        row.paired_services = sum(
            1
            for obj in cluster.objects("service")
            if (labels := obj.metadata.labels or {}).get(_CLUSTER) == row.cluster_name
            and _MIRRORED in labels
            and _GATEWAY not in labels
        )
    return pb.GatewaysTable(rows=[rows[key] for key in sorted(rows)])
