"""Indices and diffs under any order of events.

(1) incremental = from scratch, (2) a diff leads the client's view to the new snapshot,
(3) leaving out steps in between never changes the final view.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from linkerd.daemons.destination import key_topics
from linkerd.errors import LinkerdError
from linkerd.gen import destination_pb2 as pb
from linkerd.index.cluster import Cluster, EndpointsKey, ProfileKey
from linkerd.index.inbound import Inbound, InboundSettings, PortKey, workload_topic
from linkerd.index.outbound import OutboundIndex, OutboundSettings, TargetKey
from linkerd.index.status import EGRESS_NETWORKS, RATE_LIMITS, StatusIndex
from linkerd.index.workloads import MeshSettings
from linkerd.model import objects
from linkerd.model.endpoints import EndpointSet
from linkerd.model.external import ExternalWorkload
from linkerd.model.names import CONTROL_PLANE_NS, ServiceName, WorkloadName
from linkerd.model.route_objects import ConditionStatus, RouteStatus
from linkerd.translate import inbound as translate_inbound
from linkerd.translate import outbound as translate_outbound
from linkerd.translate.destination import Params, updates, weighted_addr
from linkerd.translate.net import ip_text
from tests.unit.index.policies import (
    GRPC,
    HTTP,
    POLICY_HTTP,
    TCP,
    TLS,
    a_rate_limit,
    a_route,
    an_egress_network,
    egress_parent,
    server_parent,
    service_parent,
)

NAMES = ("a", "b")
IPS = ("10.0.0.1", "10.0.0.2", "10.0.0.3")


def meta(name: str, **extra: Any) -> objects.Meta:
    return objects.Meta(name=name, namespace="ns", **extra)


pods = st.builds(
    lambda name, ip, meshed, opaque, node, owner: objects.Pod(
        meta(
            name,
            labels={"app": name, **({CONTROL_PLANE_NS: "linkerd"} if meshed else {})},
            annotations={"config.linkerd.io/opaque-ports": "80"} if opaque else None,
            owner_references=(objects.OwnerReference("ReplicaSet", owner),),
        ),
        objects.PodSpec(node_name=node, service_account_name="sa"),
        objects.PodStatus("Running", ip),
    ),
    st.sampled_from(NAMES),
    st.sampled_from(IPS),
    st.booleans(),
    st.booleans(),
    st.sampled_from(("n1", "n2")),
    st.sampled_from(NAMES),
)
services = st.builds(
    lambda name, ip, port, local: objects.Service(
        meta(name),
        objects.ServiceSpec(
            cluster_ip=ip,
            ports=(objects.ServicePort(port, "http"),),
            internal_traffic_policy="Local" if local else None,
        ),
    ),
    st.sampled_from(NAMES),
    st.sampled_from(("10.96.0.1", "10.96.0.2")),
    st.sampled_from((80, 81)),
    st.booleans(),
)
entries = st.builds(
    lambda ip, ready, pod, zone, node, kind: objects.SliceEndpoint(
        (ip,),
        objects.Conditions(ready),
        node_name=node,
        zone=zone,
        target_ref=objects.ObjectRef(kind, pod, "ns") if pod else None,
        hints=objects.Hints((objects.ForZone(zone),)) if zone else None,
    ),
    st.sampled_from(IPS),
    st.sampled_from((True, False, None)),
    st.sampled_from((*NAMES, None)),
    st.sampled_from(("z1", "z2", None)),
    st.sampled_from(("n1", "n2")),
    st.sampled_from(("Pod", "ExternalWorkload")),
)
external_workloads = st.builds(
    lambda name, ip, opaque, ready: msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "labels": {"app": name},
                "annotations": {"config.linkerd.io/opaque-ports": "80"} if opaque else None,
            },
            "spec": {
                "meshTLS": {"identity": "spiffe://x/a", "serverName": "a"},
                "ports": [{"port": 80, "name": "http"}, {"port": 8080}],
                "workloadIPs": [{"ip": ip}],
            },
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        },
        ExternalWorkload,
    ),
    st.sampled_from(NAMES),
    st.sampled_from(IPS),
    st.booleans(),
    st.sampled_from(("True", "False")),
)
slices = st.builds(
    lambda name, service, endpoints: objects.EndpointSlice(
        meta(name, labels={"kubernetes.io/service-name": service}),
        endpoints=tuple(endpoints),
        ports=(objects.SlicePort(8080, "http"),),
    ),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.lists(entries, max_size=3),
)
servers = st.builds(
    lambda name, app, port, protocol, access, external: objects.Server(
        meta(name, labels={"app": app}),
        objects.ServerSpec(
            port,
            None if external else objects.Selector({"app": app}),
            objects.Selector({"app": app}) if external else None,
            proxy_protocol=protocol,
            access_policy=access,
        ),
    ),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.sampled_from((80, 8080)),
    st.sampled_from(("opaque", "HTTP/1", "unknown")),
    st.sampled_from((None, "deny", "all-unauthenticated")),
    st.booleans(),
)
nodes = st.builds(
    lambda name, zone: objects.Named(
        objects.Meta(name=name, labels={"topology.kubernetes.io/zone": zone})
    ),
    st.sampled_from(("n1", "n2")),
    st.sampled_from(("z1", "z2")),
)
replica_sets = st.builds(
    lambda name, owner: objects.Named(
        meta(name, owner_references=(objects.OwnerReference("Deployment", owner),))
    ),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
)
policies = st.builds(
    lambda name, kind, target, refs: objects.AuthorizationPolicy(
        meta(name),
        objects.AuthorizationPolicySpec(
            objects.TargetRef(kind, target, "policy.linkerd.io" if kind == "Server" else ""),
            tuple(objects.TargetRef(k, n, "policy.linkerd.io") for k, n in refs),
        ),
    ),
    st.sampled_from(NAMES),
    st.sampled_from(("Server", "Namespace")),
    st.sampled_from((*NAMES, "ns")),
    st.lists(
        st.tuples(
            st.sampled_from(("MeshTLSAuthentication", "NetworkAuthentication")),
            st.sampled_from(NAMES),
        ),
        max_size=2,
    ),
)
mesh_tls = st.builds(
    lambda name, identity: objects.MeshTLSAuthentication(
        meta(name), objects.MeshTLSAuthenticationSpec((identity,))
    ),
    st.sampled_from(NAMES),
    st.sampled_from(("*", "*.ns.x", "sa.ns.x")),
)
networks = st.builds(
    lambda name, cidr: objects.NetworkAuthentication(
        meta(name), objects.NetworkAuthenticationSpec((objects.Network(cidr),))
    ),
    st.sampled_from(NAMES),
    st.sampled_from(("10.0.0.0/8", "nonsense")),
)

parents = st.one_of(
    st.builds(service_parent, st.sampled_from(NAMES), port=st.sampled_from((None, 80, 81))),
    st.builds(server_parent, st.sampled_from(NAMES)),
    st.builds(egress_parent, st.sampled_from(NAMES), port=st.sampled_from((None, 443))),
    st.just({"kind": "Gateway", "name": "a"}),
)
backends = st.one_of(
    st.builds(
        lambda name, port, weight: {"name": name, "port": port, "weight": weight},
        st.sampled_from(NAMES),
        st.sampled_from((80, None)),
        st.sampled_from((0, 1, None)),
    ),
    st.builds(
        lambda name: {"name": name, "kind": "EgressNetwork", "group": "policy.linkerd.io"},
        st.sampled_from(NAMES),
    ),
    st.just({"name": "a", "kind": "Thing"}),
)
rules = st.builds(
    lambda path, refs, kind: {
        "matches": [{"path": {"value": path}}] if path else [],
        "backendRefs": refs,
        "filters": [{"type": kind}] if kind else [],
    },
    st.sampled_from(("/", "/a", None, "wrong")),
    st.lists(backends, max_size=2),
    st.sampled_from((None, None, "RequestHeaderModifier", "URLRewrite")),
)
routes = st.builds(
    lambda name, namespace, parents, rules, created, accepted, notes: a_route(
        name,
        *parents,
        rules=rules,
        namespace=namespace,
        created=created,
        accepted=accepted,
        annotations=notes,
    ),
    st.sampled_from(NAMES),
    st.sampled_from(("ns", "client")),
    st.lists(parents, min_size=1, max_size=2),
    st.lists(rules, min_size=1, max_size=2),
    st.sampled_from(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")),
    st.sampled_from((True, True, False)),
    st.sampled_from((None, {"retry.linkerd.io/limit": "2"}, {"timeout.linkerd.io/request": "x"})),
)
grpc_routes = st.builds(
    lambda name, parents, backends: a_route(name, *parents, rules=[{"backendRefs": backends}]),
    st.sampled_from(NAMES),
    st.lists(parents, min_size=1, max_size=2),
    st.lists(backends, max_size=2),
)
egress_networks = st.builds(
    lambda name, cidrs, policy, created: an_egress_network(
        name, *cidrs, policy=policy, created=created
    ),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(("1.0.0.0/8", "1.1.0.0/16", "10.0.0.0/8")), max_size=2),
    st.sampled_from(("Allow", "Deny")),
    st.sampled_from(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")),
)
rate_limits = st.builds(
    lambda name, server, accepted, total: a_rate_limit(
        name, server, accepted=accepted, total={"requestsPerSecond": total}
    ),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.sampled_from((True, False, None)),
    st.sampled_from((1, 2)),
)

DESTINATION = {
    "pods": pods,
    "services": services,
    "endpointslices": slices,
    "servers": servers,
    "externalworkloads": external_workloads,
    "nodes": nodes,
    "replicasets": replica_sets,
}
INBOUND = {
    "pods": pods,
    "externalworkloads": external_workloads,
    "servers": servers,
    "authorizationpolicies": policies,
    "meshtlsauthentications": mesh_tls,
    "networkauthentications": networks,
    HTTP: routes,
    POLICY_HTTP: routes,
    GRPC: grpc_routes,
    RATE_LIMITS: rate_limits,
}
OUTBOUND = {
    "services": services,
    EGRESS_NETWORKS: egress_networks,
    HTTP: routes,
    POLICY_HTTP: routes,
    GRPC: grpc_routes,
    TLS: grpc_routes,
    TCP: grpc_routes,
}
STATUS = {**OUTBOUND, "servers": servers, RATE_LIMITS: rate_limits}


def events(kinds: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[Any]]:
    one = st.one_of(
        *(
            st.tuples(st.sampled_from(("apply", "apply", "delete")), st.just(kind), objects_of)
            for kind, objects_of in kinds.items()
        )
    )
    reset = st.one_of(
        *(
            st.tuples(st.just("reset"), st.just(kind), st.lists(objects_of, max_size=2))
            for kind, objects_of in kinds.items()
        )
    )
    return st.lists(st.one_of(one, one, one, reset), max_size=25)


def run(index: Any, steps: list[Any]) -> dict[tuple[str, tuple[str, str]], Any]:
    """Feeds an index; returns the objects there are in the end."""
    final: dict[tuple[str, tuple[str, str]], Any] = {}
    for verb, kind, item in steps:
        if verb == "reset":
            index.reset(kind, item)
            final = {key: value for key, value in final.items() if key[0] != kind}
            final |= {(kind, each.metadata.key): each for each in item}
        elif verb == "apply":
            index.apply(kind, item)
            final[kind, item.metadata.key] = item
        else:
            index.delete(kind, item)
            final.pop((kind, item.metadata.key), None)
    return final


def rebuilt(index: Any, final: dict[tuple[str, tuple[str, str]], Any]) -> Any:
    for (kind, _), item in sorted(final.items(), key=lambda pair: pair[0], reverse=True):
        index.apply(kind, item)
    return index


def answered(question: Any, key: Any) -> Any:
    try:
        return question(key)[0]
    except LinkerdError as error:
        return type(error), error.message


ENDPOINTS = [
    EndpointsKey(ServiceName("ns", name), port, node)
    for name in NAMES
    for port in (80, 81, 8080)
    for node in ("", "n1")
]
PROFILES: list[ProfileKey] = [
    *(ProfileKey(80, service=ServiceName("ns", name)) for name in NAMES),
    *(ProfileKey(80, ip=ip) for ip in (*IPS, "10.96.0.1")),
]
PORTS = [
    PortKey(WorkloadName("ns", **{kind: name}), port)
    for kind in ("pod", "external_workload")
    for name in NAMES
    for port in (80, 8080)
]


@given(events(DESTINATION))
def test_destination_answers_depend_only_on_the_final_objects(steps: list[Any]) -> None:
    incremental = Cluster(MeshSettings())
    scratch = rebuilt(Cluster(MeshSettings()), run(incremental, steps))
    for key in ENDPOINTS:
        assert answered(scratch.endpoints, key) == answered(incremental.endpoints, key)
    for profile in PROFILES:
        assert answered(scratch.profile, profile) == answered(incremental.profile, profile)


@given(events(INBOUND))
def test_inbound_answers_depend_only_on_the_final_objects(steps: list[Any]) -> None:
    incremental = Inbound(InboundSettings())
    scratch = rebuilt(Inbound(InboundSettings()), run(incremental, steps))
    for key in PORTS:
        assert answered(scratch.server, key) == answered(incremental.server, key)


TARGETS = [
    *(
        TargetKey(80, ip=ip, caller_namespace=caller)
        for ip in ("10.96.0.1", "1.1.1.1", "10.1.1.1")
        for caller in ("ns", "client")
    ),
    TargetKey(80, namespace="ns", name="a", caller_namespace="client"),
    TargetKey(443, ip="1.1.1.1", caller_namespace="ns"),
]


@given(events(OUTBOUND))
def test_outbound_answers_depend_only_on_the_final_objects(steps: list[Any]) -> None:
    incremental = OutboundIndex(OutboundSettings())
    scratch = rebuilt(OutboundIndex(OutboundSettings()), run(incremental, steps))
    for key in TARGETS:
        assert answered(scratch.target, key) == answered(incremental.target, key)


@given(events(OUTBOUND))
@settings(max_examples=200)
def test_every_change_of_an_outbound_answer_is_announced(steps: list[Any]) -> None:
    index = OutboundIndex(OutboundSettings())

    def look(key: TargetKey) -> tuple[Any, set[Any]]:
        try:
            return index.target(key)
        except LinkerdError as error:
            return (type(error), error.message), index.lookup_topics(key)

    views = {key: look(key) for key in TARGETS}
    for verb, kind, item in steps:
        topics = getattr(index, verb)(kind, item)
        for key, (value, made_from) in list(views.items()):
            now = look(key)
            if now[0] != value:
                assert made_from & topics, (verb, kind, item)
            views[key] = now


@given(events(OUTBOUND))
def test_every_outbound_answer_can_be_told(steps: list[Any]) -> None:
    """Whatever users write: a policy that does not encode would end the streams of its target."""
    index = OutboundIndex(OutboundSettings())
    run(index, steps)
    for key in TARGETS:
        try:
            value, _ = index.target(key)
        except LinkerdError:
            continue
        assert translate_outbound.policy(value)


@given(events(INBOUND))
def test_every_inbound_answer_can_be_told(steps: list[Any]) -> None:
    index = Inbound(InboundSettings())
    run(index, steps)
    for key in PORTS:
        try:
            value, _ = index.server(key)
        except LinkerdError:
            continue
        assert translate_inbound.server(value)


def status_stores(index: StatusIndex) -> dict[str, Any]:
    return {EGRESS_NETWORKS: index.egress_networks, RATE_LIMITS: index.rate_limits, **index.routes}


def stored(item: Any, status: dict[str, Any]) -> Any:
    kind = ConditionStatus if "conditions" in status else RouteStatus
    return msgspec.structs.replace(item, status=msgspec.convert(status, kind))


@given(events(STATUS))
@settings(max_examples=200)
def test_statuses_settle_and_every_change_of_one_is_announced(steps: list[Any]) -> None:
    """The writer only looks at what is announced: in the end nothing may be left to write."""
    index = StatusIndex(("10.0.0.0/8",))
    pending: set[Any] = set()
    for verb, kind, item in steps:
        pending |= getattr(index, verb)(kind, item)
    for _ in range(4):
        topics, pending = pending, set()
        for _, kind, *key in sorted(topics):
            patch = index.patch(kind, tuple(key), "2026-02-01T00:00:00Z")
            if patch is not None:
                item = index._stores[kind].get(tuple(key))
                pending |= index.apply(kind, stored(item, patch[0]))
    assert not pending
    for _, kind, namespace, name in index.topics():
        assert index.patch(kind, (namespace, name), "2026-03-01T00:00:00Z") is None


@given(events(DESTINATION))
@settings(max_examples=200)
def test_every_change_of_an_answer_is_announced(steps: list[Any]) -> None:
    """A view is only made anew when one of its topics is named: none may be forgotten."""
    index = Cluster(MeshSettings())
    views = {key: index.endpoints(key) for key in ENDPOINTS}
    for verb, kind, item in steps:
        topics = getattr(index, verb)(kind, item)
        for key, (value, made_from) in list(views.items()):
            now = index.endpoints(key)
            if now[0] != value:
                assert made_from & topics, (verb, kind, item)
            views[key] = now


@given(events(DESTINATION))
@settings(max_examples=200)
def test_every_change_of_a_profile_is_announced(steps: list[Any]) -> None:
    index = Cluster(MeshSettings())

    def look(key: ProfileKey) -> tuple[Any, set[Any]]:
        try:
            return index.profile(key)
        except LinkerdError as error:
            return (type(error), error.message), set(key_topics(key))

    views = {key: look(key) for key in PROFILES}
    for verb, kind, item in steps:
        topics = getattr(index, verb)(kind, item)
        for key, (value, made_from) in list(views.items()):
            now = look(key)
            if now[0] != value:
                assert made_from & topics, (verb, kind, item)
            views[key] = now


@given(events(INBOUND))
@settings(max_examples=200)
def test_every_change_of_an_inbound_answer_is_announced(steps: list[Any]) -> None:
    index = Inbound(InboundSettings())
    views = {key: answered(index.server, key) for key in PORTS}
    for verb, kind, item in steps:
        topics = getattr(index, verb)(kind, item)
        for key, value in list(views.items()):
            now = answered(index.server, key)
            if now != value:
                own = {workload_topic(key.workload), ("inbound", "ns")}
                assert own & topics, (verb, kind, item)
            views[key] = now


def client(view: dict[tuple[str, int], bytes], messages: list[bytes]) -> None:
    """Takes updates as a proxy does."""
    for raw in messages:
        update = pb.Update.FromString(raw)
        for each in update.add.addrs:
            address = (ip_text(each.addr.ip), each.addr.port)
            view[address] = each.SerializeToString(deterministic=True)
        for gone in update.remove.addrs:
            view.pop((ip_text(gone.ip), gone.port), None)
        if update.HasField("no_endpoints"):
            view.clear()


def told(snapshot: EndpointSet) -> dict[tuple[str, int], bytes]:
    """The view that a snapshot means."""
    return {
        address: weighted_addr(endpoint, snapshot.client_zone, Params()).SerializeToString(
            deterministic=True
        )
        for address, endpoint in snapshot.endpoints.items()
    }


@given(events(DESTINATION), st.lists(st.booleans(), min_size=25, max_size=25))
def test_a_reader_of_any_pace_ends_with_the_truth(steps: list[Any], reads: list[bool]) -> None:
    """Diffs from what was seen last are sound, whatever was skipped in between."""
    index = Cluster(MeshSettings())
    key = EndpointsKey(ServiceName("ns", "a"), 80, "n1")
    seen: EndpointSet | None = None
    view: dict[tuple[str, int], bytes] = {}
    for step, read in zip(steps, reads, strict=False):
        run(index, [step])
        if read:
            now, _ = index.endpoints(key)
            client(view, updates(seen, now, Params()))
            seen = now
            assert told(now) == view
    now, _ = index.endpoints(key)
    client(view, updates(seen, now, Params()))
    assert told(now) == view


@given(events(DESTINATION))
def test_a_new_reader_is_always_told_something(steps: list[Any]) -> None:
    """The proxy gives up on a stream that is silent for three seconds."""
    index = Cluster(MeshSettings())
    run(index, steps)
    for key in ENDPOINTS:
        assert updates(None, index.endpoints(key)[0], Params())
