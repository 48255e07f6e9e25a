"""The destination index: which endpoints and profiles follow from which objects."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import NotFound, WireError
from linkerd.index.cluster import Ambiguous, Cluster, EndpointsKey, ProfileKey
from linkerd.index.workloads import MeshSettings
from linkerd.model import objects
from linkerd.model.endpoints import Endpoint
from linkerd.model.names import CONTROL_PLANE_NS, ServiceName
from linkerd.model.ports import port_set

WEB = ServiceName("ns", "web")
IDENTITY = "sa.ns.serviceaccount.identity.linkerd.cluster.local"


def a_pod(
    name: str,
    ip: str = "10.0.0.1",
    *,
    meshed: bool = True,
    annotations: dict[str, str] | None = None,
    owner: tuple[str, str] | None = ("ReplicaSet", "web-abc"),
    phase: str = "Running",
    **spec: Any,
) -> objects.Pod:
    proxy = objects.Container(
        "linkerd-proxy",
        env=(
            objects.EnvVar("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "[::]:4143"),
            objects.EnvVar("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", "[::]:4191"),
        ),
    )
    app = objects.Container("app", (objects.ContainerPort(8080, "http"),))
    return objects.Pod(
        objects.Meta(
            name=name,
            namespace="ns",
            labels={"app": "web", "pod-template-hash": "abc"}
            | ({CONTROL_PLANE_NS: "linkerd"} if meshed else {}),
            annotations=annotations,
            owner_references=(objects.OwnerReference(*owner),) if owner else None,
        ),
        objects.PodSpec(
            **(
                {
                    "node_name": "node",
                    "service_account_name": "sa",
                    "containers": (app, proxy) if meshed else (app,),
                }
                | spec
            )
        ),
        objects.PodStatus(phase, ip, host_ip="192.168.0.1"),
    )


def a_service(**spec: Any) -> objects.Service:
    ports = (objects.ServicePort(80, "http"), objects.ServicePort(81, "admin"))
    annotations = spec.pop("annotations", None)
    return objects.Service(
        objects.Meta(name="web", namespace="ns", annotations=annotations),
        objects.ServiceSpec(**({"cluster_ip": "10.96.0.1", "ports": ports} | spec)),
    )


def an_entry(pod: str | None, ip: str = "10.0.0.1", **fields: Any) -> objects.SliceEndpoint:
    target = objects.ObjectRef("Pod", pod, "ns") if pod else None
    return objects.SliceEndpoint((ip,), target_ref=target, **fields)


def a_slice(*entries: objects.SliceEndpoint, **fields: Any) -> objects.EndpointSlice:
    meta = objects.Meta(name="web-1", namespace="ns", labels={"kubernetes.io/service-name": "web"})
    ports = (objects.SlicePort(8080, "http"), objects.SlicePort(9090, "admin"))
    given: dict[str, Any] = {"metadata": meta, "endpoints": entries, "ports": ports}
    return objects.EndpointSlice(**(given | fields))


def a_cluster(*items: Any, **settings: Any) -> Cluster:
    cluster = Cluster(MeshSettings(default_opaque=port_set("3306"), **settings))
    kinds: dict[Any, str] = {
        objects.Pod: "pods",
        objects.Service: "services",
        objects.EndpointSlice: "endpointslices",
        objects.Server: "servers",
        objects.ServiceProfile: "serviceprofiles",
    }
    for item in items:
        cluster.apply(kinds.get(type(item), "nodes"), item)
    return cluster


def only(cluster: Cluster, port: int = 80) -> Endpoint:
    (endpoint,) = cluster.endpoints(EndpointsKey(WEB, port))[0].endpoints.values()
    return endpoint


def addresses(cluster: Cluster, port: int = 80, node: str = "") -> list[str]:
    found = cluster.endpoints(EndpointsKey(WEB, port, node))[0].endpoints
    return [ip for ip, _ in found]


def test_a_meshed_pod() -> None:
    endpoint = only(a_cluster(a_pod("web-abc-1"), a_service(), a_slice(an_entry("web-abc-1"))))
    assert {
        "control_plane_ns": "linkerd",
        "deployment": "web",
        "pod": "web-abc-1",
        "pod_template_hash": "abc",
        "serviceaccount": "sa",
    } == dict(endpoint.labels)
    assert (IDENTITY, "h2", 4143) == (
        endpoint.identity,
        endpoint.hint,
        endpoint.opaque_transport_port,
    )


def test_a_pod_outside_the_mesh_has_no_identity() -> None:
    pod = a_pod("web-1", meshed=False)
    endpoint = only(a_cluster(pod, a_service(), a_slice(an_entry("web-1"))))
    assert ("", False, 0) == (endpoint.identity, endpoint.meshed, endpoint.opaque_transport_port)


def test_another_control_planes_pod_has_a_hint_but_no_identity() -> None:
    pod = a_pod("web-1")
    labels = {**(pod.metadata.labels or {}), CONTROL_PLANE_NS: "other"}
    meta = objects.Meta(name="web-1", namespace="ns", labels=labels)
    pod = objects.Pod(meta, pod.spec, pod.status)
    endpoint = only(a_cluster(pod, a_service(), a_slice(an_entry("web-1"))))
    assert ("", "h2") == (endpoint.identity, endpoint.hint)


@pytest.mark.parametrize(
    ("annotations", "settings", "hint", "transport"),
    [
        ({}, {}, "h2", 4143),
        ({}, {"h2_upgrade": False}, "", 4143),
        ({}, {"transport_header": False}, "h2", 0),
        ({"config.linkerd.io/opaque-ports": "http"}, {}, "opaque", 4143),
        (
            {"config.linkerd.io/opaque-ports": "8000-9000"},
            {"transport_header": False},
            "opaque",
            4143,
        ),
        ({"config.linkerd.io/opaque-ports": ""}, {}, "h2", 4143),
    ],
)
def test_hints(
    annotations: dict[str, str], settings: dict[str, Any], hint: str, transport: int
) -> None:
    pod = a_pod("p", annotations=annotations)
    endpoint = only(a_cluster(pod, a_service(), a_slice(an_entry("p")), **settings))
    assert (hint, transport) == (endpoint.hint, endpoint.opaque_transport_port)


def test_a_skipped_port_goes_around_the_mesh() -> None:
    pod = a_pod("p", annotations={"config.linkerd.io/skip-inbound-ports": "8080"})
    endpoint = only(a_cluster(pod, a_service(), a_slice(an_entry("p"))))
    assert ("", False) == (endpoint.identity, endpoint.meshed)


def test_an_opaque_server_flips_the_hint_and_is_announced() -> None:
    cluster = a_cluster(a_pod("p"), a_service(), a_slice(an_entry("p")))
    server = objects.Server(
        objects.Meta(name="s", namespace="ns"),
        objects.ServerSpec("http", objects.Selector({"app": "web"}), proxy_protocol="opaque"),
    )
    assert ("endpoints", "ns", "web") in cluster.apply("servers", server)
    assert "opaque" == only(cluster).hint
    cluster.delete("servers", server)
    assert "h2" == only(cluster).hint


@pytest.mark.parametrize(
    ("owner", "above", "label"),
    [
        (("ReplicaSet", "web-abc"), None, ("deployment", "web")),
        (("ReplicaSet", "web-abc"), ("Deployment", "site"), ("deployment", "site")),
        (("ReplicaSet", "web-abc"), ("Rollout", "site"), ("replicaset", "web-abc")),
        (("ReplicaSet", "other"), None, ("replicaset", "other")),
        (("StatefulSet", "db"), None, ("statefulset", "db")),
        (("Job", "once"), None, ("k8s_job", "once")),
        (("Job", "once"), ("CronJob", "often"), ("cronjob", "often")),
        (None, None, ("pod", "p")),
    ],
)
def test_owners(
    owner: tuple[str, str] | None, above: tuple[str, str] | None, label: tuple[str, str]
) -> None:
    cluster = a_cluster(a_pod("p", owner=owner), a_service(), a_slice(an_entry("p")))
    if owner and above:
        item = objects.Named(
            objects.Meta(
                name=owner[1],
                namespace="ns",
                owner_references=(objects.OwnerReference(*above),),
            )
        )
        kind = "jobs" if owner[0] == "Job" else "replicasets"
        assert ("endpoints", "ns", "web") in cluster.apply(kind, item)
    assert label in only(cluster).labels


@pytest.mark.parametrize(("ready", "count"), [(True, 1), (None, 1), (False, 0)])
def test_only_endpoints_that_are_not_ready_are_left_out(ready: bool | None, count: int) -> None:
    entry = an_entry("p", conditions=objects.Conditions(ready))
    assert count == len(addresses(a_cluster(a_pod("p"), a_service(), a_slice(entry))))


def test_ports_are_looked_up_by_name() -> None:
    cluster = a_cluster(a_pod("p"), a_service(), a_slice(an_entry("p")))
    assert (8080, 9090) == (only(cluster, 80).port, only(cluster, 81).port)
    assert 9090 == only(cluster, 9090).port
    assert [] == addresses(cluster, 7)


def test_a_slice_without_ports_has_no_endpoints() -> None:
    assert [] == addresses(a_cluster(a_pod("p"), a_service(), a_slice(an_entry("p"), ports=None)))


def test_a_pod_that_comes_late_appears_when_it_comes() -> None:
    cluster = a_cluster(a_service(), a_slice(an_entry("p")))
    assert [] == addresses(cluster)
    assert ("endpoints", "ns", "web") in cluster.apply("pods", a_pod("p"))
    assert ["10.0.0.1"] == addresses(cluster)


def test_an_address_without_a_pod() -> None:
    cluster = a_cluster(a_service(), a_slice(an_entry(None)))
    assert ((), False) == (only(cluster).labels, only(cluster).meshed)


def test_a_mirrored_service_names_its_gateway() -> None:
    meta = objects.Meta(
        name="web-1",
        namespace="ns",
        labels={"kubernetes.io/service-name": "web"},
        annotations={
            "mirror.linkerd.io/remote-svc-fq-name": "web.ns.svc.east",
            "mirror.linkerd.io/remote-gateway-identity": "gw.east",
        },
    )
    endpoint = only(a_cluster(a_service(), a_slice(an_entry(None), metadata=meta)))
    assert ("web.ns.svc.east:80", "gw.east", "", "h2") == (
        endpoint.authority_override,
        endpoint.identity,
        endpoint.server_name,
        endpoint.hint,
    )


def test_local_traffic_policy_keeps_the_callers_node() -> None:
    entries = (
        an_entry(None, "10.0.0.1", node_name="n1"),
        an_entry(None, "10.0.0.2", node_name="n2"),
    )
    cluster = a_cluster(a_service(internal_traffic_policy="Local"), a_slice(*entries))
    assert ["10.0.0.2"] == addresses(cluster, node="n2")
    assert [] == addresses(cluster, node="n3")


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        (("z1", "z2"), ["10.0.0.1"]),
        (("z2", "z2"), ["10.0.0.1", "10.0.0.2"]),
        (("z1", None), ["10.0.0.1", "10.0.0.2"]),
    ],
)
def test_zone_hints(hints: tuple[str | None, ...], expected: list[str]) -> None:
    entries = [
        an_entry(
            None,
            f"10.0.0.{number}",
            hints=objects.Hints((objects.ForZone(zone),)) if zone else None,
        )
        for number, zone in enumerate(hints, 1)
    ]
    node = objects.Named(objects.Meta(name="n1", labels={"topology.kubernetes.io/zone": "z1"}))
    cluster = a_cluster(a_service(), a_slice(*entries), node)
    assert expected == addresses(cluster, node="n1")


def test_an_instance_is_one_endpoint() -> None:
    entries = (
        an_entry(None, "10.0.0.1", hostname="web-0"),
        an_entry(None, "10.0.0.2", hostname="web-1"),
    )
    cluster = a_cluster(a_service(), a_slice(*entries))
    name = ServiceName("ns", "web", "web-1")
    found = cluster.endpoints(EndpointsKey(name, 80))[0].endpoints
    assert [("10.0.0.2", 8080)] == list(found)
    profile, _ = cluster.profile(ProfileKey(80, service=name))
    assert profile.endpoint is not None
    assert "10.0.0.2" == profile.endpoint.ip
    with pytest.raises(NotFound):
        cluster.profile(ProfileKey(80, service=ServiceName("ns", "web", "web-9")))


def test_ipv6_endpoints_only_when_enabled() -> None:
    piece = a_slice(an_entry(None, "fd00::1"), address_type="IPv6")
    assert ["fd00::1"] == addresses(a_cluster(a_service(), piece))
    assert [] == addresses(a_cluster(a_service(), piece, ipv6=False))


def test_services_that_have_no_endpoints_of_their_own() -> None:
    with pytest.raises(NotFound):
        a_cluster().service(WEB)
    with pytest.raises(WireError):
        a_cluster(a_service(type="ExternalName")).service(WEB)


def profile_of(cluster: Cluster, **key: Any) -> Any:
    return cluster.profile(ProfileKey(**({"port": 80} | key)))[0]


def test_profiles_of_addresses() -> None:
    cluster = a_cluster(a_pod("p"), a_service())
    service = profile_of(cluster, ip="10.96.0.1")
    assert ("web.ns.svc.cluster.local", ("ns", "web", 80)) == (service.fqdn, service.service)
    pod = profile_of(cluster, ip="10.0.0.1", port=8080)
    assert ("namespace", "ns") in pod.endpoint.labels
    assert IDENTITY == pod.endpoint.identity
    unknown = profile_of(cluster, ip="10.0.0.9")
    assert Endpoint("10.0.0.9", 80) == unknown.endpoint


def test_an_address_is_ambiguous_when_two_pods_have_it() -> None:
    with pytest.raises(Ambiguous):
        profile_of(a_cluster(a_pod("p"), a_pod("q")), ip="10.0.0.1")
    profile = profile_of(a_cluster(a_pod("p"), a_pod("q", phase="Succeeded")), ip="10.0.0.1")
    assert ("pod", "p") in profile.endpoint.labels


def test_a_host_port_leads_to_its_pod() -> None:
    container = objects.Container("app", (objects.ContainerPort(8080, "http", 8888),))
    cluster = a_cluster(a_pod("p", containers=(container,)))
    profile = profile_of(cluster, ip="192.168.0.1", port=8888)
    assert ("pod", "p") in profile.endpoint.labels
    assert 8888 == profile.endpoint.port


def test_an_undeclared_port_has_an_empty_profile() -> None:
    assert profile_of(a_cluster(a_service()), service=WEB, port=7).empty


@pytest.mark.parametrize(
    ("annotation", "port", "opaque"),
    [(None, 80, False), ("http", 80, True), ("80-82", 81, True), ("", 80, False)],
)
def test_opaque_service_ports(annotation: str | None, port: int, opaque: bool) -> None:
    notes = {} if annotation is None else {"config.linkerd.io/opaque-ports": annotation}
    profile = profile_of(a_cluster(a_service(annotations=notes)), service=WEB, port=port)
    assert opaque == profile.opaque


def test_default_opaque_ports_apply_to_services() -> None:
    service = a_service(ports=(objects.ServicePort(3306, "db"),))
    assert profile_of(a_cluster(service), service=WEB, port=3306).opaque


def a_profile(namespace: str, *routes: str, **spec: Any) -> objects.ServiceProfile:
    conditions = tuple({"name": r, "condition": {"pathRegex": "/"}} for r in routes)
    return objects.ServiceProfile(
        objects.Meta(name="web.ns.svc.cluster.local", namespace=namespace),
        objects.ServiceProfileSpec(**({"routes": conditions} | spec)),
    )


def test_the_callers_service_profile_wins() -> None:
    cluster = a_cluster(a_service(), a_profile("ns", "theirs"), a_profile("mine", "ours"))
    ours = profile_of(cluster, service=WEB, caller_namespace="mine")
    assert ("mine", "ours") == (ours.profile[0], ours.rules.routes[0].name)
    theirs = profile_of(cluster, service=WEB, caller_namespace="other")
    assert ("ns", "theirs") == (theirs.profile[0], theirs.rules.routes[0].name)


def test_a_malformed_service_profile_is_passed_over() -> None:
    broken = a_profile("mine", routes=({"name": "x"},))
    cluster = a_cluster(a_service(), a_profile("ns", "theirs"), broken)
    profile = profile_of(cluster, service=WEB, caller_namespace="mine")
    assert "ns" == profile.profile[0]
