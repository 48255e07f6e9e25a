"""The inbound index: which policy a port has, from which objects."""

from __future__ import annotations

from typing import Any

import pytest

from linkerd.errors import NotFound
from linkerd.index.inbound import Inbound, InboundSettings, PortKey
from linkerd.model import objects
from linkerd.model.names import WorkloadName
from linkerd.model.policy import (
    ALL_NETWORKS,
    ANYBODY,
    EVERY_IDENTITY,
    Authorization,
    Block,
    Clients,
    InboundServer,
    Reference,
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
    default, probe = server(index).routes
    assert (Reference(default="default"), None) == (default.reference, default.paths)
    assert ("/", "/live") == probe.paths
    (allowed,) = probe.authorizations
    assert (Reference(default="probe"), (Block("0.0.0.0/0"),)) == (
        allowed.reference,
        allowed.networks,
    )
    assert 1 == len(server(index, 9090).routes)
    assert 1 == len(server(an_index(pod)).routes)
