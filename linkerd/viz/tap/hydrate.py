"""A proxy's event → an event for people: whose are the addresses? Pure.

Source: linkerd2 viz/tap/api/grpc_server.go (translateEvent, hydrateEventLabels).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping

from linkerd.gen import http_types_pb2, net_pb2, tap_pb2, viz_net_pb2
from linkerd.gen import viz_pb2 as viz
from linkerd.gen import viz_tap_pb2 as tap
from linkerd.viz.cluster import Cluster
from linkerd.viz.kinds import KINDS
from linkerd.viz.objects import CONTROL_PLANE_NS, Node, Pod

_TEMPLATE_HASH = "pod-template-hash"


class Addresses:
    """Whose IP addresses are: made from a moment's cluster, nodes first, then pods."""

    def __init__(self, cluster: Cluster) -> None:
        self._labels: dict[str, dict[str, str]] = {}
        pods: dict[str, list[Pod]] = {}
        for pod in cluster.pods():
            for ip in pod.addresses:
                pods.setdefault(ip, []).append(pod)
        for ip, owners in pods.items():
            running = [pod for pod in owners if pod.status.phase == "Running"]
            chosen = owners if len(owners) == 1 else running
            if len(chosen) == 1:
                self._labels[ip] = pod_labels(cluster, chosen[0])
        for node in cluster.objects("node"):
            if isinstance(node, Node):
                for address in node.status.addresses or ():
                    if address.type == "InternalIP":
                        self._labels[address.address] = {"node": node.metadata.name}

    def labels(self, ip: str) -> Mapping[str, str]:
        """Returns the labels of an address's owner; empty when it is not known."""
        return self._labels.get(ip, {})


def pod_labels(cluster: Cluster, pod: Pod) -> dict[str, str]:
    """Returns what metrics would call a pod: its name, its workload, its account."""
    meta = pod.metadata
    labels = {"namespace": meta.namespace, "pod": meta.name, "serviceaccount": pod.account}
    own = meta.labels or {}
    if CONTROL_PLANE_NS in own:
        labels["control_plane_ns"] = own[CONTROL_PLANE_NS]
    if _TEMPLATE_HASH in own:
        labels["pod_template_hash"] = own[_TEMPLATE_HASH]
    owners = list(cluster.owners(pod))
    if owners:
        kind, _, name = owners[-1]
        labels[KINDS[kind].label] = name
    return labels


def event(
    seen: tap_pb2.TapEvent, addresses: Addresses, ignored_headers: Collection[str] = ()
) -> tap.TapEvent:
    """Returns what a proxy saw, with the names of both ends where they are known.

    Args:
        seen: From the proxy; names of destinations of outbound traffic are its own knowledge.
        addresses: Whose addresses are.
        ignored_headers: Lower-case names of headers to leave out.
    """
    found = tap.TapEvent(
        source=_address(seen.source),
        destination=_address(seen.destination),
        proxy_direction=seen.proxy_direction,  # type: ignore[arg-type]  # same numbers
    )
    found.source_meta.labels.update(seen.source_meta.labels)
    found.source_meta.labels.update(addresses.labels(text(found.source.ip)))
    found.destination_meta.labels.update(seen.destination_meta.labels)
    if seen.proxy_direction == tap_pb2.TapEvent.INBOUND:
        found.destination_meta.labels.update(addresses.labels(text(found.destination.ip)))
    found.route_meta.labels.update(seen.route_meta.labels)
    if seen.WhichOneof("event") == "http":
        _http(seen.http, found.http, ignored_headers)
    return found


def text(ip: viz_net_pb2.IPAddress) -> str:
    """Returns an address as people write it, without brackets; empty for none."""
    kind = ip.WhichOneof("ip")
    if kind == "ipv4":
        return str(ipaddress.IPv4Address(ip.ipv4))
    if kind == "ipv6":
        return str(ipaddress.IPv6Address(ip.ipv6.first << 64 | ip.ipv6.last))
    return ""


def _address(address: net_pb2.TcpAddress) -> viz_net_pb2.TcpAddress:
    # Both packages number these fields alike.
    return viz_net_pb2.TcpAddress.FromString(address.SerializeToString())


def _http(seen: tap_pb2.TapEvent.Http, found: tap.TapEvent.Http, ignored: Collection[str]) -> None:
    kind = seen.WhichOneof("event")
    if kind == "request_init":
        init, own = seen.request_init, found.request_init
        own.id.base, own.id.stream = init.id.base, init.id.stream
        own.method.ParseFromString(init.method.SerializeToString())
        own.scheme.ParseFromString(init.scheme.SerializeToString())
        own.authority, own.path = init.authority, init.path
        _headers(init.headers, own.headers, ignored)
    elif kind == "response_init":
        response, mine = seen.response_init, found.response_init
        mine.id.base, mine.id.stream = response.id.base, response.id.stream
        mine.since_request_init.CopyFrom(response.since_request_init)
        mine.http_status = response.http_status
        _headers(response.headers, mine.headers, ignored)
    elif kind == "response_end":
        end, last = seen.response_end, found.response_end
        last.id.base, last.id.stream = end.id.base, end.id.stream
        last.since_request_init.CopyFrom(end.since_request_init)
        last.since_response_init.CopyFrom(end.since_response_init)
        last.response_bytes = end.response_bytes
        if end.HasField("eos"):
            last.eos.ParseFromString(end.eos.SerializeToString())
        _headers(end.trailers, last.trailers, ignored)


def _headers(seen: http_types_pb2.Headers, found: viz.Headers, ignored: Collection[str]) -> None:
    for header in seen.headers:
        if header.name.lower() in ignored:
            continue
        own = found.headers.add(name=header.name)
        try:
            own.value_str = header.value.decode()
        except UnicodeDecodeError:
            own.value_bin = header.value
