"""Samples of open connections and pods → edges. Pure.

Source: linkerd2 viz/metrics-api/edges.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from linkerd.gen import viz_pb2 as pb
from linkerd.viz.cluster import Cluster
from linkerd.viz.kinds import KINDS
from linkerd.viz.prometheus import Sample

_NO_TLS = {
    "disabled": "Disabled",
    "loopback": "Loopback",
    "no_authority_in_http_request": "No Authority In HTTP Request",
    "not_http": "Not HTTP",
    "not_provided_by_remote": "Not Provided By Remote",
    "not_provided_by_service_discovery": "Not Provided By Service Discovery",
}


def edges(samples: Iterable[Sample], kind: str, namespace: str, cluster: Cluster) -> list[pb.Edge]:
    """Returns one edge per pair of resources and identities, ordered.

    Args:
        samples: Answer to `queries.edges(kind)`; samples of 0 connections do not count.
        kind: Canonical kind of both ends.
        namespace: Where one end has to be; empty for anywhere.
        cluster: Tells the identity of the source's pod.
    """
    label = KINDS[kind].label
    found: dict[tuple[str, ...], pb.Edge] = {}
    for sample in samples:
        if sample.value == 0:
            continue
        labels = sample.labels
        source_ns, target_ns = labels.get("namespace", ""), labels.get("dst_namespace", "")
        if namespace and namespace not in (source_ns, target_ns):
            continue
        source, target = labels.get(label, ""), labels.get("dst_" + label, "")
        server = labels.get("server_id", "")
        reason = "" if server else _NO_TLS.get(labels.get("no_tls_reason", ""), "")
        if not server and not reason:
            reason = labels.get("no_tls_reason", "") or "Unknown"
        pod = cluster.pod(source_ns, labels.get("pod", ""))
        client = pod.identity if pod is not None and server else ""
        key = (source_ns, source, target_ns, target, client, server, reason)
        found[key] = pb.Edge(
            src=pb.Resource(namespace=source_ns, type=kind, name=source),
            dst=pb.Resource(namespace=target_ns, type=kind, name=target),
            client_id=short_identity(client),
            server_id=short_identity(server),
            no_identity_msg=reason,
        )
    return [found[key] for key in sorted(found)]


def short_identity(identity: str) -> str:
    """Returns the service account and namespace of an identity: its first two parts."""
    return ".".join(identity.split(".")[:2])
