"""Inbound policy: workloads, Servers, routes and authorizations in; the policy of a port out.

Topics are ("inbound", namespace) for all that a namespace's policies say, ("pod", namespace, name)
and ("externalworkload", namespace, name). Results depend only on the objects there are.
Source: linkerd2 policy-controller/k8s/index/src/inbound/** (decisions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from linkerd.errors import NotFound
from linkerd.index.attachments import SERVER, is_accepted, parent_key, parent_keys
from linkerd.index.status import by_age
from linkerd.index.status import is_accepted as is_policy_accepted
from linkerd.index.store import Store
from linkerd.index.workloads import named_ports, selects, selects_external
from linkerd.model import route_objects as routes_of
from linkerd.model import routes as values
from linkerd.model.external import ExternalWorkload
from linkerd.model.inbound import (
    DEFAULT_GRPC_ROUTE,
    DEFAULT_HTTP_ROUTE,
    InboundRoute,
    InboundServer,
    LimitOverride,
    RateLimit,
    probe_route,
)
from linkerd.model.names import (
    DEFAULT_INBOUND_POLICY,
    OPAQUE_PORTS,
    REQUIRE_IDENTITY_PORTS,
    Mesh,
    WorkloadName,
)
from linkerd.model.objects import (
    AuthorizationPolicy,
    MeshTLSAuthentication,
    Network,
    NetworkAuthentication,
    Pod,
    Server,
    ServerAuthorization,
    TargetRef,
)
from linkerd.model.policy import (
    ALL_NETWORKS,
    ANYBODY,
    DEFAULT_POLICIES,
    POLICY_GROUP,
    Authorization,
    Block,
    Clients,
    Reference,
    authenticated,
    clients_of,
    default_authorizations,
    is_network,
)
from linkerd.model.ports import port_set

Topic = tuple[str, ...]
Workload = Pod | ExternalWorkload

_ROUTES = tuple(name for name, (_, kind) in values.KINDS.items() if kind[:4] in ("HTTP", "GRPC"))

_EVERYWHERE = tuple(Block(cidr) for cidr in ALL_NETWORKS)


@dataclass(frozen=True, slots=True)
class InboundSettings:
    """What defaults are made of."""

    mesh: Mesh = field(default_factory=Mesh)
    default_policy: str = "all-unauthenticated"
    cluster_networks: tuple[str, ...] = (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "192.168.0.0/16",
    )
    probe_networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortKey:
    """One port of one workload."""

    workload: WorkloadName
    port: int


class Inbound:
    """All objects that decide who may reach a pod."""

    def __init__(self, settings: InboundSettings) -> None:
        self._settings = settings
        self.pods: Store[Pod] = Store()
        self.servers: Store[Server] = Store(namespace=_namespace)
        self.server_authorizations: Store[ServerAuthorization] = Store(namespace=_namespace)
        self.policies: Store[AuthorizationPolicy] = Store(
            namespace=_namespace, reference=_references
        )
        self.mesh_tls: Store[MeshTLSAuthentication] = Store()
        self.networks: Store[NetworkAuthentication] = Store()
        self.external_workloads: Store[ExternalWorkload] = Store()
        self.rate_limits: Store[routes_of.RateLimit] = Store(namespace=_namespace)
        self.routes: dict[str, Store[routes_of.Route]] = {
            kind: Store(parent=parent_keys) for kind in _ROUTES
        }
        self._stores: dict[str, Store[Any]] = {
            "pods": self.pods,
            "servers": self.servers,
            "serverauthorizations": self.server_authorizations,
            "authorizationpolicies": self.policies,
            "meshtlsauthentications": self.mesh_tls,
            "networkauthentications": self.networks,
            "externalworkloads": self.external_workloads,
            "httplocalratelimitpolicies": self.rate_limits,
            **self.routes,
        }

    def apply(self, kind: str, item: Any) -> set[Topic]:
        """Takes a created or changed object; returns the topics that changed."""
        before = self._stores[kind].apply(item)
        return set() if before == item else self._changed(kind, item)

    def delete(self, kind: str, item: Any) -> set[Topic]:
        """Takes a deleted object; returns the topics that changed."""
        before = self._stores[kind].delete(item.metadata.key)
        return set() if before is None else self._changed(kind, before)

    def reset(self, kind: str, items: Iterable[Any]) -> set[Topic]:
        """Takes all objects of a kind; others of that kind are gone."""
        store = self._stores[kind]
        topics: set[Topic] = set()
        kept: set[tuple[str, str]] = set()
        for item in items:
            kept.add(item.metadata.key)
            topics |= self.apply(kind, item)
        for key in store.all_keys():
            if key not in kept:
                before = store.delete(key)
                topics |= self._changed(kind, before)
        return topics

    def server(self, key: PortKey) -> tuple[InboundServer, set[Topic]]:
        """Returns the policy of a workload's port.

        Raises:
            NotFound: the workload is not known.
        """
        workload = self._workload(key.workload)
        topics: set[Topic] = {workload_topic(key.workload), ("inbound", key.workload.namespace)}
        server = self._server_of(workload, key.port)
        if server is None:
            return self._default(workload, key.port), topics
        authorizations = [
            *self._server_authorizations(server),
            *self._policy_authorizations(server.metadata.namespace, lambda p: _targets(p, server)),
        ]
        access = server.spec.access_policy
        if access in DEFAULT_POLICIES:
            authorizations += default_authorizations(access, self._settings.cluster_networks)
        http = self._routes(server, "HTTPRoute", values.inbound_http)
        grpc = self._routes(server, "GRPCRoute", values.inbound_grpc)
        return (
            InboundServer(
                Reference("", POLICY_GROUP, "server", server.metadata.name),
                server.spec.proxy_protocol,
                tuple(sorted(authorizations)),
                http or self._default_routes(workload, key.port),
                grpc or (DEFAULT_GRPC_ROUTE,),
                self._rate_limit(server),
            ),
            topics,
        )

    # parts of an answer

    def _workload(self, name: WorkloadName) -> Workload:
        found: Workload | None = None
        if name.pod:
            found = self.pods.get((name.namespace, name.pod))
        elif name.external_workload:
            found = self.external_workloads.get((name.namespace, name.external_workload))
        if found is None:
            kind, own = ("pod", name.pod) if name.pod else ("workload", name.external_workload)
            raise NotFound(f"unknown server: no meshed {kind} {name.namespace}/{own}")
        return found

    def _server_of(self, workload: Workload, port: int) -> Server | None:
        """The first Server, by age then name, that is about the port."""
        servers = self.servers.group("namespace", workload.metadata.namespace)
        servers.sort(key=lambda s: (s.metadata.creation_timestamp or "", s.metadata.name))
        return next((server for server in servers if _selects(server, workload, port)), None)

    def _default(self, workload: Workload, port: int) -> InboundServer:
        names, meta = _names(workload), workload.metadata
        policy = meta.annotation(DEFAULT_INBOUND_POLICY) or ""
        if policy not in DEFAULT_POLICIES:
            policy = self._settings.default_policy
        if port in port_set(meta.annotation(REQUIRE_IDENTITY_PORTS) or "", names):
            policy = authenticated(policy)
        opaque = port in port_set(meta.annotation(OPAQUE_PORTS) or "", names)
        return InboundServer(
            Reference(default=policy),
            "opaque" if opaque else "unknown",
            default_authorizations(policy, self._settings.cluster_networks),
            self._default_routes(workload, port),
            (DEFAULT_GRPC_ROUTE,),
        )

    def _default_routes(self, workload: Workload, port: int) -> tuple[InboundRoute, ...]:
        """The default route, and one for the probes that the kubelet sends to this port."""
        paths = _probe_paths(workload, port) if isinstance(workload, Pod) else ()
        networks = tuple(Block(cidr) for cidr in self._settings.probe_networks)
        if not paths or not networks:
            return (DEFAULT_HTTP_ROUTE,)
        return DEFAULT_HTTP_ROUTE, probe_route(paths, networks)

    def _routes(
        self,
        server: Server,
        kind: str,
        rules: Callable[[routes_of.Route], tuple[values.Rule, ...]],
    ) -> tuple[InboundRoute, ...]:
        """The routes of one kind that are attached to a Server and accepted, in order."""
        key = (SERVER, *server.metadata.key)
        found: list[tuple[tuple[Any, ...], InboundRoute]] = []
        for name, store in self.routes.items():
            group, route_kind = values.KINDS[name]
            if route_kind != kind:
                continue
            for route in store.group("parent", key):
                if not _attaches(route, key):
                    continue
                try:
                    made = rules(route)
                except ValueError:
                    continue  # it cannot be told to proxies, and half of it must not be
                own = route.metadata
                authorizations = self._policy_authorizations(
                    own.namespace,
                    lambda policy, group=group, name=own.name: _targets_route(  # type: ignore[misc]
                        policy, group, kind, name
                    ),
                )
                value = InboundRoute(
                    Reference("", group, kind, own.name),
                    route.spec.hostnames or (),
                    made,
                    tuple(sorted(authorizations)),
                )
                created = own.creation_timestamp
                found.append(((created is None, created or "", group, kind, own.name), value))
        return tuple(value for _, value in sorted(found, key=lambda pair: pair[0]))

    def _rate_limit(self, server: Server) -> RateLimit | None:
        """The one rate limit of a Server that was accepted."""
        namespace = server.metadata.namespace
        chosen = [
            each
            for each in self.rate_limits.group("namespace", namespace)
            if _is(each.spec.target_ref, POLICY_GROUP, "Server")
            and each.spec.target_ref.name == server.metadata.name
            and is_policy_accepted(each)
        ]
        if not chosen:
            return None
        item = min(chosen, key=by_age)
        spec = item.spec
        overrides = tuple(
            LimitOverride(
                each.requests_per_second,
                tuple(
                    self._settings.mesh.identity(ref.namespace or namespace, ref.name)
                    for ref in each.client_refs or ()
                    if _is(ref, "", "ServiceAccount")
                ),
            )
            for each in spec.overrides or ()
        )
        return RateLimit(
            Reference("", POLICY_GROUP, "HTTPLocalRateLimitPolicy", item.metadata.name),
            spec.total.requests_per_second if spec.total is not None else None,
            spec.identity.requests_per_second if spec.identity is not None else None,
            overrides,
        )

    def _server_authorizations(self, server: Server) -> list[Authorization]:
        found: list[Authorization] = []
        for each in self.server_authorizations.group("namespace", server.metadata.namespace):
            chosen = each.spec.server
            if chosen.name is not None:
                applies = chosen.name == server.metadata.name
            else:
                applies = chosen.selector is not None and chosen.selector.matches(
                    server.metadata.labels
                )
            clients = self._authorized_clients(each) if applies else None
            if clients is None:
                continue
            networks = each.spec.client.networks
            blocks = (
                _blocks(networks)
                if networks
                else tuple(Block(cidr) for cidr in self._settings.cluster_networks)
            )
            name = each.metadata.name
            reference = Reference("", POLICY_GROUP, "serverauthorization", name)
            found.append(Authorization(reference, blocks, clients))
        return found

    def _authorized_clients(self, authorization: ServerAuthorization) -> Clients | None:
        client = authorization.spec.client
        if client.unauthenticated:
            return ANYBODY
        tls = client.mesh_tls
        if tls is None:
            return None
        if tls.unauthenticated_tls:
            return Clients(tls=True, unauthenticated=True)
        accounts = tuple(
            self._settings.mesh.identity(
                each.namespace or authorization.metadata.namespace, each.name
            )
            for each in tls.service_accounts or ()
        )
        identities = (tls.identities or ()) + accounts
        return clients_of(identities) if identities else None

    def _policy_authorizations(
        self, namespace: str, targets: Callable[[AuthorizationPolicy], bool]
    ) -> list[Authorization]:
        found: list[Authorization] = []
        for each in self.policies.group("namespace", namespace):
            authorization = self._authorization(each) if targets(each) else None
            if authorization is not None:
                found.append(authorization)
        return found

    def _authorization(self, policy: AuthorizationPolicy) -> Authorization | None:
        """What a policy permits; None when something that it refers to does not exist."""
        blocks, clients = _EVERYWHERE, ANYBODY
        for reference in policy.spec.required_authentication_refs or ():
            namespace = reference.namespace or policy.metadata.namespace
            if _is(reference, POLICY_GROUP, "MeshTLSAuthentication"):
                mesh_tls = self.mesh_tls.get((namespace, reference.name))
                if mesh_tls is None:
                    return None
                clients = self._mesh_tls_clients(mesh_tls)
            elif _is(reference, POLICY_GROUP, "NetworkAuthentication"):
                network = self.networks.get((namespace, reference.name))
                if network is None:
                    return None
                blocks = _blocks(network.spec.networks or ())
            elif _is(reference, "", "ServiceAccount"):
                clients = clients_of((self._settings.mesh.identity(namespace, reference.name),))
            else:
                return None
        name = Reference("", POLICY_GROUP, "authorizationpolicy", policy.metadata.name)
        return Authorization(name, blocks, clients)

    def _mesh_tls_clients(self, authentication: MeshTLSAuthentication) -> Clients:
        mesh = self._settings.mesh
        identities = list(authentication.spec.identities or ())
        for reference in authentication.spec.identity_refs or ():
            if _is(reference, "", "ServiceAccount"):
                namespace = reference.namespace or authentication.metadata.namespace
                identities.append(mesh.identity(namespace, reference.name))
            elif _is(reference, "", "Namespace"):
                identities.append(f"*.{mesh.namespace_suffix(reference.name)}")
        return clients_of(tuple(identities))

    # what a change means

    def _changed(self, kind: str, item: Any) -> set[Topic]:
        if kind in ("pods", "externalworkloads"):
            return {(kind[:-1], *item.metadata.key)}
        topics: set[Topic] = {("inbound", item.metadata.namespace)}
        if kind in ("meshtlsauthentications", "networkauthentications"):
            for policy in self.policies.group("reference", (kind, *item.metadata.key)):
                topics.add(("inbound", policy.metadata.namespace))
        return topics


def workload_topic(name: WorkloadName) -> Topic:
    """Returns the topic of a workload."""
    if name.pod:
        return ("pod", name.namespace, name.pod)
    return ("externalworkload", name.namespace, name.external_workload)


def _selects(server: Server, workload: Workload, port: int) -> bool:
    if isinstance(workload, Pod):
        return selects(server, workload, port)
    return selects_external(server, workload, port)


def _names(workload: Workload) -> dict[str, int]:
    return named_ports(workload) if isinstance(workload, Pod) else workload.named_ports


def _attaches(route: routes_of.Route, server: tuple[str, str, str]) -> bool:
    """Whether a route counts for a Server.

    It does not if any of its references to Servers leaves the namespace or names a port: there
    is no such thing, so the route means something else than its author thinks.
    """
    attached = False
    for parent in route.parents:
        key = parent_key(route, parent)
        if key is None or key[0] != SERVER:
            continue
        if key[1] != route.metadata.namespace or parent.port or parent.section_name:
            return False
        attached = attached or (key == server and is_accepted(route, parent))
    return attached


def _targets_route(policy: AuthorizationPolicy, group: str, kind: str, name: str) -> bool:
    target = policy.spec.target_ref
    return _is(target, group, kind) and target.name.lower() == name.lower()


def _namespace(item: Any) -> tuple[str]:
    return (item.metadata.namespace,)


def _references(policy: AuthorizationPolicy) -> set[tuple[str, str, str]]:
    plural = {
        "meshtlsauthentication": "meshtlsauthentications",
        "networkauthentication": "networkauthentications",
    }
    return {
        (plural[each.kind.lower()], each.namespace or policy.metadata.namespace, each.name)
        for each in policy.spec.required_authentication_refs or ()
        if each.kind.lower() in plural
    }


def _is(reference: TargetRef, group: str, kind: str) -> bool:
    own = "" if reference.group == "core" else reference.group
    return own.lower() == group and reference.kind.lower() == kind.lower()


def _targets(policy: AuthorizationPolicy, server: Server) -> bool:
    target = policy.spec.target_ref
    if _is(target, POLICY_GROUP, "Server"):
        return target.name == server.metadata.name
    return _is(target, "", "Namespace") and target.name == server.metadata.namespace


def _blocks(networks: Iterable[Network]) -> tuple[Block, ...]:
    """Blocks that parse; one that does not is left out, so it permits nothing.

    An exclusion that does not parse takes its whole block out, for the same reason.
    """
    return tuple(
        Block(each.cidr, each.except_ or ())
        for each in networks
        if is_network(each.cidr) and all(is_network(hole) for hole in each.except_ or ())
    )


def _probe_paths(pod: Pod, port: int) -> tuple[str, ...]:
    names = named_ports(pod)
    paths: set[str] = set()
    for container in pod.spec.all_containers:
        probes = (container.liveness_probe, container.readiness_probe, container.startup_probe)
        for probe in probes:
            http = probe.http_get if probe is not None else None
            if http is None:
                continue
            wanted = http.port if isinstance(http.port, int) else names.get(http.port, 0)
            if wanted == port:
                paths.add((http.path or "/").partition("?")[0] or "/")
    return tuple(sorted(paths))
