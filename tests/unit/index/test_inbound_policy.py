"""The inbound index: which policy a port has, from which objects."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkerd.errors import NotFound
from linkerd.index.inbound import Inbound, InboundSettings, PortKey
from linkerd.model import objects
from linkerd.model.external import ExternalWorkload
from linkerd.model.inbound import DEFAULT_GRPC_ROUTE, DEFAULT_HTTP_ROUTE, InboundServer
from linkerd.model.names import WorkloadName
from linkerd.model.policy import (
    ALL_NETWORKS,
    ANYBODY,
    EVERY_IDENTITY,
    Authorization,
    Block,
    Clients,
    Reference,
)
from linkerd.model.route_objects import RateLimit
from tests.unit.index.policies import (
    GRPC,
    HTTP,
    POLICY_HTTP,
    a_rate_limit,
    a_route,
    server_parent,
    service_parent,
)

POLICY = "policy.linkerd.io"
EVERYWHERE = tuple(Block(cidr) for cidr in ALL_NETWORKS)
CLUSTER = (Block("10.0.0.0/8"),)


def meta(name: str, namespace: str = "ns", **fields: Any) -> objects.Meta:
    return objects.Meta(name=name, namespace=namespace, **fields)


def a_pod(annotations: dict[str, str] | None = None, *probes: Any) -> objects.Pod:
    container = objects.Container(
        "app",
        (objects.ContainerPort(8080, "http"), objects.ContainerPort(9090, "admin")),
        liveness_probe=probes[0] if probes else None,
        readiness_probe=probes[1] if len(probes) > 1 else None,
    )
    return objects.Pod(
        meta("web", labels={"app": "web"}, annotations=annotations),
        objects.PodSpec(containers=(container,)),
    )


def a_server(name: str = "srv", created: str = "2026-01-01", **spec: Any) -> objects.Server:
    fields: dict[str, Any] = {
        "port": "http",
        "pod_selector": objects.Selector({"app": "web"}),
        "access_policy": "deny",
    }
    return objects.Server(
        meta(name, labels={"tier": "front"}, creation_timestamp=created),
        objects.ServerSpec(**(fields | spec)),
    )


def a_policy(kind: str, name: str, *refs: tuple[str, str]) -> objects.AuthorizationPolicy:
    group = POLICY if kind == "Server" else ""
    return objects.AuthorizationPolicy(
        meta("policy"),
        objects.AuthorizationPolicySpec(
            objects.TargetRef(kind, name, group),
            tuple(
                objects.TargetRef(k, n, "" if k == "ServiceAccount" else POLICY) for k, n in refs
            ),
        ),
    )


KINDS: dict[type[Any], str] = {
    objects.Pod: "pods",
    objects.Server: "servers",
    objects.ServerAuthorization: "serverauthorizations",
    objects.AuthorizationPolicy: "authorizationpolicies",
    objects.MeshTLSAuthentication: "meshtlsauthentications",
    objects.NetworkAuthentication: "networkauthentications",
    ExternalWorkload: "externalworkloads",
    RateLimit: "httplocalratelimitpolicies",
}


def an_index(*items: Any, **settings: Any) -> Inbound:
    defaults: dict[str, Any] = {"cluster_networks": ("10.0.0.0/8",)}
    index = Inbound(InboundSettings(**(defaults | settings)))
    for item in items:
        index.apply(KINDS[type(item)], item)
    return index


def server(index: Inbound, port: int = 8080) -> InboundServer:
    return index.server(PortKey(WorkloadName("ns", "web"), port))[0]


def authorizations(*items: Any) -> list[tuple[str, tuple[Block, ...], Clients]]:
    found = server(an_index(a_pod(), a_server(), *items)).authorizations
    return [(each.reference.name, each.networks, each.clients) for each in found]


@pytest.mark.parametrize(
    ("policy", "networks", "clients"),
    [
        ("all-unauthenticated", EVERYWHERE, ANYBODY),
        ("all-authenticated", EVERYWHERE, EVERY_IDENTITY),
        ("cluster-unauthenticated", CLUSTER, ANYBODY),
        ("cluster-authenticated", CLUSTER, EVERY_IDENTITY),
        ("audit", EVERYWHERE, ANYBODY),
    ],
)
@pytest.mark.parametrize("by", ["annotation", "cluster"])
def test_default_policies(
    policy: str, networks: tuple[Block, ...], clients: Clients, by: str
) -> None:
    if by == "annotation":
        index = an_index(a_pod({"config.linkerd.io/default-inbound-policy": policy}))
    else:
        index = an_index(a_pod(), default_policy=policy)
    found = server(index)
    reference = Reference(default=policy)
    assert reference == found.reference
    assert (Authorization(reference, networks, clients),) == found.authorizations


def test_deny_permits_nobody() -> None:
    index = an_index(a_pod(), default_policy="deny")
    assert ((), Reference(default="deny")) == (
        server(index).authorizations,
        server(index).reference,
    )


def test_a_wrong_annotation_falls_back_to_the_clusters_policy() -> None:
    pod = a_pod({"config.linkerd.io/default-inbound-policy": "maybe"})
    assert Reference(default="deny") == server(an_index(pod, default_policy="deny")).reference


def test_ports_that_require_identity() -> None:
    pod = a_pod({"config.linkerd.io/proxy-require-identity-inbound-ports": "http"})
    assert Reference(default="all-authenticated") == server(an_index(pod)).reference
    assert Reference(default="all-unauthenticated") == server(an_index(pod), 9090).reference


def test_opaque_ports_of_the_pod() -> None:
    pod = a_pod({"config.linkerd.io/opaque-ports": "admin"})
    assert ("unknown", "opaque") == (
        server(an_index(pod)).protocol,
        server(an_index(pod), 9090).protocol,
    )


def test_an_unknown_pod_is_not_found() -> None:
    with pytest.raises(NotFound, match="ns/web"):
        server(an_index())


def test_the_oldest_server_wins_the_port() -> None:
    index = an_index(
        a_pod(),
        a_server("a", "2026-01-02", port=8080),
        a_server("b", "2026-01-01", proxy_protocol="HTTP/2"),
        a_server("c", "2026-01-01", port=9090),
    )
    assert ("b", "HTTP/2") == (server(index).reference.name, server(index).protocol)
    assert "c" == server(index, 9090).reference.name


def test_a_server_adds_its_access_policy() -> None:
    found = server(an_index(a_pod(), a_server(access_policy="all-authenticated")))
    assert [Reference(default="all-authenticated")] == [
        each.reference for each in found.authorizations
    ]


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (objects.Client(unauthenticated=True), ANYBODY),
        (
            objects.Client(mesh_tls=objects.MeshTLSClients(unauthenticated_tls=True)),
            Clients(tls=True, unauthenticated=True),
        ),
        (
            objects.Client(
                mesh_tls=objects.MeshTLSClients(
                    identities=("*.x", "a"),
                    service_accounts=(objects.ServiceAccountRef("sa", "other"),),
                )
            ),
            Clients(
                tls=True,
                identities=("a", "sa.other.serviceaccount.identity.linkerd.cluster.local"),
                suffixes=(("x",),),
            ),
        ),
        (objects.Client(), None),
        (objects.Client(mesh_tls=objects.MeshTLSClients()), None),
    ],
)
def test_server_authorizations(client: objects.Client, expected: Clients | None) -> None:
    for reference in (
        objects.ServerRef("srv"),
        objects.ServerRef(selector=objects.Selector({"tier": "front"})),
    ):
        item = objects.ServerAuthorization(
            meta("saz"), objects.ServerAuthorizationSpec(client, reference)
        )
        wanted = [] if expected is None else [("saz", CLUSTER, expected)]
        assert wanted == authorizations(item)


def test_server_authorizations_for_others_do_not_apply() -> None:
    client = objects.Client(unauthenticated=True)
    for reference in (objects.ServerRef("other"), objects.ServerRef()):
        item = objects.ServerAuthorization(
            meta("saz"), objects.ServerAuthorizationSpec(client, reference)
        )
        assert [] == authorizations(item)


MESH_TLS = objects.MeshTLSAuthentication(
    meta("m"),
    objects.MeshTLSAuthenticationSpec(
        identity_refs=(
            objects.TargetRef("ServiceAccount", "sa"),
            objects.TargetRef("Namespace", "b"),
        )
    ),
)
NETWORK = objects.NetworkAuthentication(
    meta("n"),
    objects.NetworkAuthenticationSpec(
        (objects.Network("10.0.0.0/8", ("10.1.0.0/16",)), objects.Network("nonsense"))
    ),
)


def test_authorization_policies_need_all_they_refer_to() -> None:
    policy = a_policy(
        "Server", "srv", ("MeshTLSAuthentication", "m"), ("NetworkAuthentication", "n")
    )
    assert [] == authorizations(policy)
    assert [] == authorizations(policy, MESH_TLS)
    clients = Clients(
        tls=True,
        identities=("sa.ns.serviceaccount.identity.linkerd.cluster.local",),
        suffixes=(("b", "serviceaccount", "identity", "linkerd", "cluster", "local"),),
    )
    blocks = (Block("10.0.0.0/8", ("10.1.0.0/16",)),)
    assert [("policy", blocks, clients)] == authorizations(policy, MESH_TLS, NETWORK)


def test_authorization_policies_without_references_permit_everybody() -> None:
    for kind, name in (("Server", "srv"), ("Namespace", "ns")):
        assert [("policy", EVERYWHERE, ANYBODY)] == authorizations(a_policy(kind, name))
    for kind, name in (("Server", "other"), ("Namespace", "other")):
        assert [] == authorizations(a_policy(kind, name))


def test_a_service_account_is_an_identity() -> None:
    policy = a_policy("Server", "srv", ("ServiceAccount", "sa"))
    identity = "sa.ns.serviceaccount.identity.linkerd.cluster.local"
    assert [("policy", EVERYWHERE, Clients(tls=True, identities=(identity,)))] == authorizations(
        policy
    )


def test_policies_of_a_namespace_do_not_reach_ports_without_a_server() -> None:
    index = an_index(a_pod(), a_policy("Namespace", "ns"), default_policy="deny")
    assert () == server(index).authorizations


def test_a_referent_of_another_namespace_is_announced_there() -> None:
    policy = objects.AuthorizationPolicy(
        meta("policy"),
        objects.AuthorizationPolicySpec(
            objects.TargetRef("Server", "srv", POLICY),
            (objects.TargetRef("NetworkAuthentication", "n", POLICY, "far"),),
        ),
    )
    index = an_index(a_pod(), a_server(), policy)
    far = objects.NetworkAuthentication(meta("n", "far"), NETWORK.spec)
    assert ("inbound", "ns") in index.apply("networkauthentications", far)
    assert 1 == len(server(index).authorizations)


def http(path: str | None, port: int | str) -> objects.Probe:
    return objects.Probe(objects.HttpGet(port, path))


def test_probes_are_authorized_from_the_probe_networks() -> None:
    pod = a_pod(None, http("/live?x=1", "http"), http(None, 8080))
    index = an_index(pod, probe_networks=("0.0.0.0/0",), default_policy="deny")
    default, probe = server(index).http_routes
    assert DEFAULT_HTTP_ROUTE == default
    matches: Any = probe.rules[0].matches
    assert [(("exact", "/"), "GET"), (("exact", "/live"), "GET")] == [
        (each.path, each.method) for each in matches
    ]
    (allowed,) = probe.authorizations
    assert (Reference(default="probe"), (Block("0.0.0.0/0"),)) == (
        allowed.reference,
        allowed.networks,
    )
    assert 1 == len(server(index, 9090).http_routes)
    assert 1 == len(server(an_index(pod)).http_routes)


def with_server(*routes: tuple[str, Any]) -> Inbound:
    index = an_index(a_pod(None, http("/live", "http")), a_server(), probe_networks=("0.0.0.0/0",))
    for kind, route in routes:
        index.apply(kind, route)
    return index


def route_names(index: Inbound) -> list[str]:
    return [each.reference.name or each.reference.default for each in server(index).http_routes]


def test_routes_replace_the_default_ones_and_are_ordered_by_age() -> None:
    old = a_route("z", server_parent(), created="2025-01-01T00:00:00Z")
    index = with_server((HTTP, a_route("a", server_parent())), (POLICY_HTTP, old))
    assert ["z", "a"] == route_names(index)
    index.reset(HTTP, [])
    index.reset(POLICY_HTTP, [])
    assert ["default", "probe"] == route_names(index)


@pytest.mark.parametrize(
    ("route", "counts"),
    [
        (a_route("r", server_parent()), True),
        (a_route("r", server_parent(), service_parent(port=80)), True),
        (a_route("r", server_parent("other")), False),
        (a_route("r", server_parent(), accepted=False), False),
        (a_route("r", server_parent(), controller="example.com/x"), False),
        (a_route("r", server_parent(port=80)), False),
        (a_route("r", server_parent(sectionName="x")), False),
        (a_route("r", server_parent(namespace="far")), False),
        (a_route("r", server_parent(namespace="ns"), namespace="far"), False),
        (a_route("r", server_parent(), rules=[{"filters": [{"type": "URLRewrite"}]}]), False),
    ],
)
def test_a_route_counts_where_it_is_attached_and_accepted(route: Any, counts: bool) -> None:
    assert (["r"] if counts else ["default", "probe"]) == route_names(with_server((HTTP, route)))


def test_response_headers_are_not_changed_inbound() -> None:
    rule = {"filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {}}]}
    index = with_server((HTTP, a_route("r", server_parent(), rules=[rule])))
    assert () == server(index).http_routes[0].rules[0].filters


@pytest.mark.parametrize("kind", [HTTP, POLICY_HTTP, GRPC])
def test_policies_of_a_route_extend_its_authorizations(kind: str) -> None:
    plural, _, group = kind.partition(".")
    name = {"httproutes": "httproute", "grpcroutes": "GRPCRoute"}[plural]
    policy = objects.AuthorizationPolicy(
        meta("policy"),
        objects.AuthorizationPolicySpec(objects.TargetRef(name, "R", group)),
    )
    index = with_server((kind, a_route("r", server_parent())))
    index.apply("authorizationpolicies", policy)
    found = server(index)
    routes = found.grpc_routes if kind == GRPC else found.http_routes
    assert [("policy", ANYBODY)] == [
        (each.reference.name, each.clients) for each in routes[0].authorizations
    ]
    assert () == found.authorizations


def test_a_server_without_grpc_routes_has_the_default_one() -> None:
    assert (DEFAULT_GRPC_ROUTE,) == server(with_server()).grpc_routes


def test_the_accepted_rate_limit_of_a_server() -> None:
    spec: dict[str, Any] = {
        "total": {"requestsPerSecond": 9},
        "overrides": [
            {"requestsPerSecond": 3, "clientRefs": [{"kind": "ServiceAccount", "name": "sa"}]}
        ],
    }
    refused = a_rate_limit("a", accepted=False)
    other = a_rate_limit("b", "other")
    index = an_index(a_pod(), a_server(), refused, other, a_rate_limit(**spec))
    found = server(index).rate_limit
    assert found is not None
    assert ("limit", 9, None, 3) == (
        found.reference.name,
        found.total_per_s,
        found.identity_per_s,
        found.overrides[0].per_s,
    )
    assert ("sa.ns.serviceaccount.identity.linkerd.cluster.local",) == (
        found.overrides[0].identities
    )
    assert server(index, 9090).rate_limit is None


def an_external_workload(**metadata: Any) -> ExternalWorkload:
    return msgspec.convert(
        {
            "metadata": {"name": "vm", "namespace": "ns", "labels": {"app": "vm"}, **metadata},
            "spec": {
                "meshTLS": {"identity": "spiffe://x/vm", "serverName": "vm.x"},
                "ports": [{"port": 8080, "name": "http"}],
                "workloadIPs": [{"ip": "192.0.2.1"}],
            },
        },
        ExternalWorkload,
    )


def external(index: Inbound, port: int = 8080) -> InboundServer:
    return index.server(PortKey(WorkloadName("ns", external_workload="vm"), port))[0]


@pytest.mark.parametrize(("port", "reference"), [("http", "srv"), (8080, "srv"), ("other", "")])
def test_servers_of_external_workloads(port: int | str, reference: str) -> None:
    selecting = a_server(
        port=port, pod_selector=None, external_workload_selector=objects.Selector({"app": "vm"})
    )
    pods = a_server("pods", port=8080)
    index = an_index(an_external_workload(), selecting, pods)
    assert reference == external(index).reference.name
    assert (DEFAULT_HTTP_ROUTE,) == external(index).http_routes


def test_an_external_workload_has_its_own_default() -> None:
    notes = {"config.linkerd.io/default-inbound-policy": "deny"}
    index = an_index(an_external_workload(annotations=notes))
    assert Reference(default="deny") == external(index).reference
    assert {("externalworkload", "ns", "vm")} == index.delete(
        "externalworkloads", an_external_workload()
    )
    with pytest.raises(NotFound, match="ns/vm"):
        external(index)
