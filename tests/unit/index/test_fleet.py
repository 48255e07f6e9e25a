"""Services whose endpoints are in other clusters: mirrored by discovery, and federated."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import NotFound
from linkerd.index.cluster import Cluster, EndpointsKey
from linkerd.index.fleet import Fleet, Incomplete
from linkerd.index.workloads import MeshSettings
from linkerd.model import objects
from linkerd.model.names import CONTROL_PLANE_NS, Mesh, ServiceName

WEB = EndpointsKey(ServiceName("ns", "web"), 80, "node")
DISCOVERY = "multicluster.linkerd.io/remote-discovery"
SERVICE = "multicluster.linkerd.io/remote-service"
LOCAL = "multicluster.linkerd.io/local-discovery"


def a_cluster(ip: str, service: str, domain: str, traffic: str | None = None) -> Cluster:
    cluster = Cluster(MeshSettings(Mesh("linkerd", f"{domain}.trust", domain)))
    meta = objects.Meta(name="pod", namespace="ns", labels={CONTROL_PLANE_NS: "linkerd"})
    pod = objects.Pod(
        meta, objects.PodSpec(service_account_name="sa"), objects.PodStatus(pod_ip=ip)
    )
    cluster.apply("pods", pod)
    ports = (objects.ServicePort(80, "http"),)
    spec = objects.ServiceSpec(ports=ports, internal_traffic_policy=traffic)
    cluster.apply("services", objects.Service(objects.Meta(name=service, namespace="ns"), spec))
    labels = {"kubernetes.io/service-name": service}
    piece = objects.EndpointSlice(
        objects.Meta(name="piece", namespace="ns", labels=labels),
        endpoints=(objects.SliceEndpoint((ip,), target_ref=objects.ObjectRef("Pod", "pod", "ns")),),
        ports=(objects.SlicePort(8080, "http"),),
    )
    cluster.apply("endpointslices", piece)
    return cluster


def a_mirror(labels: dict[str, str] | None = None, /, **annotations: str) -> objects.Service:
    return objects.Service(
        objects.Meta(name="web", namespace="ns", labels=labels, annotations=annotations or None),
        objects.ServiceSpec(ports=(objects.ServicePort(80, "http"),)),
    )


def a_fleet(service: objects.Service, *remotes: str) -> Fleet:
    fleet = Fleet(a_cluster("10.0.0.1", "own", "local"))
    fleet.local.apply("services", service)
    for at, name in enumerate(remotes):
        fleet.add(name, a_cluster(f"10.{at + 1}.0.1", "far", name, "Local"))
    return fleet


def seen(fleet: Fleet) -> dict[str, dict[str, Any]]:
    value, _ = fleet.endpoints(WEB)
    assert (("namespace", "ns"), ("service", "web")) == value.labels
    return {ip: dict(each.labels) for (ip, _), each in value.endpoints.items()}


def test_a_mirrored_service_has_the_other_clusters_endpoints() -> None:
    """Neither topology nor the traffic policy of the other cluster are for its visitors."""
    fleet = a_fleet(a_mirror({DISCOVERY: "east", SERVICE: "far"}), "east")
    fleet.check(WEB.service)
    (labels,) = seen(fleet).values()
    assert ("east", "far", "ns") == (
        labels["target_cluster"],
        labels["target_service"],
        labels["target_service_namespace"],
    )
    ((_, endpoint),) = fleet.endpoints(WEB)[0].endpoints.items()
    assert "sa.ns.serviceaccount.identity.linkerd.east.trust" == endpoint.identity


def test_what_can_be_asked_for() -> None:
    with pytest.raises(Incomplete, match="remote-service"):
        a_fleet(a_mirror({DISCOVERY: "east"}), "east").check(WEB.service)
    with pytest.raises(NotFound, match="east"):
        a_fleet(a_mirror({DISCOVERY: "east", SERVICE: "far"})).check(WEB.service)
    with pytest.raises(NotFound, match="nope"):
        a_fleet(a_mirror()).check(ServiceName("ns", "nope"))
    a_fleet(a_mirror(**{LOCAL: "own"})).check(WEB.service)


def test_a_federated_service_is_the_union_of_its_members() -> None:
    service = a_mirror(**{DISCOVERY: "far@east, far@west,broken,far@gone", LOCAL: "own"})
    fleet = a_fleet(service, "east", "west")
    found = seen(fleet)
    assert ["10.0.0.1", "10.1.0.1", "10.2.0.1"] == sorted(found)
    assert "target_cluster" not in found["10.0.0.1"]
    _, topics = fleet.endpoints(WEB)
    assert topics & fleet.remove("east")
    assert ["10.0.0.1", "10.2.0.1"] == sorted(seen(fleet))
    assert topics & fleet.add("gone", a_cluster("10.9.0.1", "far", "gone"))
    assert "10.9.0.1" in seen(fleet)

    gone = fleet.remotes["west"].delete("pods", objects.Pod(objects.Meta("pod", "ns")))
    assert topics & {("remote", "west", *topic) for topic in gone}
    left = fleet.local.apply("services", a_mirror(**{LOCAL: "own"}))
    assert topics & left
    assert ["10.0.0.1"] == sorted(seen(fleet))
