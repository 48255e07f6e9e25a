"""The slices that external workloads need, and how proxies are told to reach them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkerd.index.cluster import Ambiguous, Cluster, EndpointsKey, ProfileKey
from linkerd.index.external_endpoints import ENDPOINTS_MAX, Action, Create, Delete, Replace, plan
from linkerd.index.workloads import MeshSettings
from linkerd.model import objects
from linkerd.model.external import ExternalWorkload
from linkerd.model.names import ServiceName

WEB = EndpointsKey(ServiceName("ns", "web"), 80)


def a_workload(name: str = "vm", ip: str = "192.0.2.1", **fields: Any) -> ExternalWorkload:
    metadata = {
        "name": name,
        "namespace": "ns",
        "labels": {"app": "vm", "topology.kubernetes.io/zone": "z1"},
        "ownerReferences": [{"kind": "ExternalGroup", "name": "g"}],
    } | fields.pop("metadata", {})
    ready = fields.pop("ready", True)
    return msgspec.convert(
        {
            "metadata": metadata,
            "spec": {
                "meshTLS": {"identity": "spiffe://x/vm", "serverName": "vm.x"},
                "ports": [{"port": 8080, "name": "http"}, {"port": 9000, "name": "other"}],
                "workloadIPs": [{"ip": each} for each in ip.split(",")],
                **fields,
            },
            "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
        },
        ExternalWorkload,
    )


def a_service(target: int | str | None = "http", **fields: Any) -> objects.Service:
    spec: dict[str, Any] = {
        "cluster_ip": "10.96.0.1",
        "selector": {"app": "vm"},
        "ports": (objects.ServicePort(80, "web", target_port=target),),
    }
    return objects.Service(
        objects.Meta(name="web", namespace=fields.pop("namespace", "ns"), uid="u"),
        objects.ServiceSpec(**(spec | fields)),
    )


def stored(
    actions: list[Action], slices: list[objects.EndpointSlice]
) -> list[objects.EndpointSlice]:
    """The slices after the actions, as the API would hold them."""
    found = {each.metadata.name: each for each in slices}
    for at, action in enumerate(actions):
        if isinstance(action, Delete):
            del found[action.name]
            continue
        metadata = dict(action.body["metadata"])
        name = metadata.setdefault("name", f"{metadata.get('generateName')}{len(found)}{at}")
        found[name] = msgspec.convert({**action.body, "metadata": metadata}, objects.EndpointSlice)
    return list(found.values())


def settle(
    service: objects.Service | None,
    workloads: list[ExternalWorkload],
    slices: list[objects.EndpointSlice] | None = None,
) -> list[objects.EndpointSlice]:
    found = stored(plan(service, workloads, slices or []), slices or [])
    assert [] == plan(service, workloads, found)
    return found


def test_a_slice_of_a_service() -> None:
    (action,) = plan(a_service(), [a_workload()], [])
    assert isinstance(action, Create)
    body = action.body
    assert "linkerd-external-web-" == body["metadata"]["generateName"]
    assert {
        "endpointslice.kubernetes.io/managed-by": "linkerd-external-workloads-controller",
        "kubernetes.io/service-name": "web",
    } == body["metadata"]["labels"]
    assert ("Service", "u") == (
        body["metadata"]["ownerReferences"][0]["kind"],
        body["metadata"]["ownerReferences"][0]["uid"],
    )
    assert [{"name": "web", "port": 8080, "protocol": "TCP"}] == body["ports"]
    (endpoint,) = body["endpoints"]
    assert (["192.0.2.1"], True, "z1", "ExternalWorkload", None) == (
        endpoint["addresses"],
        endpoint["conditions"]["ready"],
        endpoint["zone"],
        endpoint["targetRef"]["kind"],
        endpoint.get("hostname"),
    )


@pytest.mark.parametrize(
    ("service", "count"),
    [
        (a_service(), 1),
        (a_service(8080), 1),
        (a_service("none"), 0),
        (a_service(7), 0),
        (a_service(None), 0),
        (a_service(ports=(objects.ServicePort(8080, "web"),)), 1),
        (a_service(ports=(objects.ServicePort(8080, "web", "UDP"),)), 0),
        (a_service(type="ExternalName"), 0),
        (a_service(selector=None), 0),
        (a_service(selector={"app": "other"}), 0),
        (a_service(namespace="kube-system"), 0),
        (a_service(ip_families=("IPv6",)), 0),
    ],
)
def test_which_services_get_slices(service: objects.Service, count: int) -> None:
    assert count == len(settle(service, [a_workload()]))


def test_both_families_of_a_headless_service() -> None:
    service = a_service(cluster_ip="None")
    slices = settle(service, [a_workload(ip="192.0.2.1,2001:db8::1")])
    assert {"IPv4", "IPv6"} == {each.address_type for each in slices}
    assert {"vm"} == {e.hostname for each in slices for e in each.endpoints or ()}


def test_ports_that_differ_need_slices_of_their_own() -> None:
    other = a_workload("b", "192.0.2.2", ports=[{"port": 8081, "name": "http"}])
    slices = settle(a_service(), [a_workload(), other])
    assert {8080, 8081} == {(each.ports or ())[0].port for each in slices}


def test_slices_are_filled_and_changed_as_little_as_possible() -> None:
    workloads = [a_workload(f"vm-{i:03}", f"192.0.2.{i}") for i in range(1, ENDPOINTS_MAX + 11)]
    slices = settle(a_service(), workloads)
    assert [10, 100] == sorted(len(each.endpoints or ()) for each in slices)

    (change,) = plan(a_service(), [*workloads, a_workload("new", "198.51.100.1")], slices)
    assert isinstance(change, Replace)
    assert 11 == len(change.body["endpoints"])

    unready = [a_workload(w.metadata.name, w.ips[0], ready=i != 0) for i, w in enumerate(workloads)]
    (change,) = plan(a_service(), unready, slices)
    assert isinstance(change, Replace)
    assert 1 == sum(not each["conditions"]["ready"] for each in change.body["endpoints"])

    assert 2 == len(plan(a_service(), [], slices))
    assert 2 == len(plan(None, workloads, slices))
    leaving = a_workload(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert [] == plan(a_service(), [leaving], [])


def a_cluster(*workloads: ExternalWorkload, **settings: Any) -> Cluster:
    cluster = Cluster(MeshSettings(**settings))
    cluster.apply("services", a_service())
    for each in workloads:
        cluster.apply("externalworkloads", each)
    for piece in settle(a_service(), list(workloads)):
        cluster.apply("endpointslices", piece)
    return cluster


def test_endpoints_of_external_workloads() -> None:
    cluster = a_cluster(a_workload())
    ((address, endpoint),) = cluster.endpoints(WEB)[0].endpoints.items()
    assert ("192.0.2.1", 8080) == address
    assert ("spiffe://x/vm", "vm.x", "h2", 4143, "z1") == (
        endpoint.uri_identity,
        endpoint.server_name,
        endpoint.hint,
        endpoint.opaque_transport_port,
        endpoint.zone,
    )
    assert (("external_workload", "vm"), ("externalgroup", "g")) == endpoint.labels
    topics = cluster.endpoints(WEB)[1]
    assert topics & cluster.delete("externalworkloads", a_workload())
    assert {} == cluster.endpoints(WEB)[0].endpoints


def test_a_server_makes_an_external_port_opaque() -> None:
    cluster = a_cluster(
        a_workload(ports=[{"port": 8080, "name": "http"}, {"port": 4200, "name": "linkerd-proxy"}])
    )
    server = objects.Server(
        objects.Meta(name="s", namespace="ns"),
        objects.ServerSpec(
            "http",
            external_workload_selector=objects.Selector({"app": "vm"}),
            proxy_protocol="opaque",
        ),
    )
    topics = cluster.endpoints(WEB)[1]
    assert topics & cluster.apply("servers", server)
    (endpoint,) = cluster.endpoints(WEB)[0].endpoints.values()
    assert ("opaque", 4200) == (endpoint.hint, endpoint.opaque_transport_port)


def test_profiles_of_external_addresses() -> None:
    cluster = a_cluster(a_workload())
    profile, topics = cluster.profile(ProfileKey(9000, ip="192.0.2.1"))
    assert profile.endpoint is not None
    assert ("spiffe://x/vm", ("namespace", "ns")) == (
        profile.endpoint.uri_identity,
        profile.endpoint.labels[-1],
    )
    bare, _ = cluster.profile(ProfileKey(1, ip="192.0.2.1"))
    assert bare.endpoint is not None and not bare.endpoint.meshed
    assert topics & cluster.apply("externalworkloads", a_workload("twin"))
    with pytest.raises(Ambiguous):
        cluster.profile(ProfileKey(9000, ip="192.0.2.1"))


def test_workloads_of_two_families_are_reached_by_ipv6() -> None:
    both = a_workload(ip="192.0.2.1,2001:db8::1")
    service = a_service(ip_families=("IPv4", "IPv6"))
    for ipv6, expected in ((True, "2001:db8::1"), (False, "192.0.2.1")):
        cluster = Cluster(MeshSettings(ipv6=ipv6))
        cluster.apply("services", service)
        cluster.apply("externalworkloads", both)
        for piece in settle(service, [both]):
            cluster.apply("endpointslices", piece)
        assert [(expected, 8080)] == list(cluster.endpoints(WEB)[0].endpoints)
