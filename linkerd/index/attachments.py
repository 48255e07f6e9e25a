"""Which routes are attached to a parent, and what their backends lead to.

A route counts once its status says that it was accepted, so that all replicas follow the one that
writes statuses. A route of the parent's namespace (producer) is for every client, one of another
namespace (consumer) only for clients of that namespace.
Source: linkerd2 policy-controller/k8s/index/src/outbound/index.rs; gateway-api GEP-1426.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from linkerd.index.store import Store
from linkerd.model import route_objects as objects
from linkerd.model import routes as values
from linkerd.model.policy import NO_TIMEOUTS, POLICY_GROUP, Reference, Retry, Timeouts
from linkerd.model.ports import PORT_MAX
from linkerd.model.routes import CONTROLLER, KINDS, Backend, Routes

SERVICE = "Service"
EGRESS_NETWORK = "EgressNetwork"
SERVER = "Server"

Key = tuple[str, str]
ParentKey = tuple[str, str, str]
"""(kind, namespace, name)."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The parent whose routes are asked for, and by whom.

    `ip` is the address that was looked up, empty for a lookup by name. The rest is what routes
    without settings of their own inherit.
    """

    kind: str
    namespace: str
    name: str
    port: int
    caller_namespace: str = ""
    ip: str = ""
    timeouts: Timeouts = NO_TIMEOUTS
    http_retry: Retry | None = None
    grpc_retry: Retry | None = None

    @property
    def key(self) -> ParentKey:
        """(kind, namespace, name)."""
        return self.kind, self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Lookups:
    """How backends are resolved: whether a Service or an EgressNetwork exists; authorities."""

    service: Callable[[Key], bool]
    egress_network: Callable[[Key], bool]
    authority: Callable[[str, str, int], str]


def parent_kind(group: str | None, kind: str | None) -> str:
    """Returns Service, EgressNetwork or Server for what those groups and kinds mean, else empty."""
    group, kind = (group or "").lower(), (kind or "").lower()
    if group in ("", "core") and kind == "service":
        return SERVICE
    if group == POLICY_GROUP and kind in ("egressnetwork", "server"):
        return EGRESS_NETWORK if kind == "egressnetwork" else SERVER
    return ""


def parent_key(route: objects.Route, parent: objects.ParentRef) -> ParentKey | None:
    """Returns which object a reference means, None for kinds that are not ours."""
    kind = parent_kind(parent.group, parent.kind)
    if not kind:
        return None
    return kind, parent.namespace or route.metadata.namespace, parent.name


def parent_keys(route: objects.Route) -> set[ParentKey]:
    """Returns all objects of ours that a route refers to as parents."""
    found = (parent_key(route, each) for each in route.parents)
    return {key for key in found if key is not None}


def backend_kind(backend: objects.BackendRef) -> str:
    """Returns Service or EgressNetwork, empty for kinds that are not supported."""
    kind = parent_kind(backend.group, "Service" if backend.kind is None else backend.kind)
    return "" if kind == SERVER else kind


def backend_keys(route: objects.Route) -> set[ParentKey]:
    """Returns all objects of ours that a route refers to as backends."""
    return {
        (backend_kind(each), each.namespace or route.metadata.namespace, each.name)
        for each in route.backends
        if backend_kind(each)
    }


def is_accepted(route: objects.Route, parent: objects.ParentRef) -> bool:
    """Whether our controller's status accepts a route at one of its parents."""
    key = parent_key(route, parent)
    return any(
        each.controller_name == CONTROLLER
        and parent_key(route, each.parent_ref) == key
        and each.parent_ref.port in (None, parent.port)
        and objects.accepted(each.conditions)
        for each in route.statuses
    )


def new_route_stores() -> dict[str, Store[objects.Route]]:
    """Returns an empty store for each kind of route, grouped by parent and by backend."""
    return {kind: Store(parent=parent_keys, backend=backend_keys) for kind in KINDS}


def attached(
    stores: dict[str, Store[objects.Route]], parent: Parent, lookups: Lookups
) -> tuple[Routes, set[ParentKey]]:
    """Returns the routes of a parent's port for a caller, and all objects that they refer to.

    Routes that are not valid, or cannot be told to proxies, are left out.
    """
    found: dict[str, list[values.Route]] = {"HTTPRoute": [], "GRPCRoute": []}
    backends: set[ParentKey] = set()
    chosen = sorted(_chosen(stores, parent), key=lambda pair: (*values.order(pair[1]), pair[0]))
    for kind, route in chosen:
        backends |= backend_keys(route)
        resolver = _Resolver(route, parent, lookups)
        try:
            rules = _rules(KINDS[kind][1], route, resolver.resolve)
        except ValueError:
            continue
        meta = route.metadata
        group, name = KINDS[kind]
        reference = Reference("", group, name, meta.name, meta.namespace)
        retry = parent.grpc_retry if name == "GRPCRoute" else parent.http_retry
        inherited = tuple(_inherit(rule, parent.timeouts, retry) for rule in rules)
        found.setdefault(name, []).append(
            values.Route(reference, route.spec.hostnames or (), inherited)
        )
    routes = Routes(
        tuple(found["HTTPRoute"]),
        tuple(found["GRPCRoute"]),
        tuple(found.get("TLSRoute", ())),
        tuple(found.get("TCPRoute", ())[:1]),
    )
    return routes, backends


def _chosen(
    stores: dict[str, Store[objects.Route]], parent: Parent
) -> Iterator[tuple[str, objects.Route]]:
    for kind, store in stores.items():
        for route in store.group("parent", parent.key):
            namespace = route.metadata.namespace
            if namespace not in (parent.namespace, parent.caller_namespace):
                continue
            if any(_attaches(route, each, parent) for each in route.parents):
                yield kind, route


def _attaches(route: objects.Route, reference: objects.ParentRef, parent: Parent) -> bool:
    return (
        parent_key(route, reference) == parent.key
        and reference.port in (None, parent.port)
        and is_accepted(route, reference)
    )


def _rules(kind: str, route: objects.Route, resolve: values.Resolve) -> Iterable[values.Rule]:
    if kind == "HTTPRoute":
        return values.http(route, resolve)
    if kind == "GRPCRoute":
        return values.grpc(route, resolve)
    return values.plain(route, resolve)


def _inherit(rule: values.Rule, timeouts: Timeouts, retry: Retry | None) -> values.Rule:
    """A rule that says nothing of timeouts, or of retries, takes all of its parent's."""
    return replace(
        rule,
        timeouts=timeouts if rule.timeouts == NO_TIMEOUTS else rule.timeouts,
        retry=retry if rule.retry is None else rule.retry,
    )


@dataclass(frozen=True, slots=True)
class _Resolver:
    """Source: linkerd2 policy-controller/grpc/src/outbound/http.rs (convert_backend: texts)."""

    route: objects.Route
    parent: Parent
    lookups: Lookups

    def resolve(self, backend: objects.BackendRef) -> Backend:
        weight = values.weight_of(backend)
        namespace = backend.namespace or self.route.metadata.namespace
        match backend_kind(backend):
            case "Service":
                return self._service(backend, namespace, weight)
            case "EgressNetwork":
                return self._egress_network(backend, namespace, weight)
        kind = "<empty>" if backend.kind is None else backend.kind
        group = "core" if backend.group is None else backend.group
        return _invalid(weight, f"unsupported backend type {group} {kind}")

    def _service(self, backend: objects.BackendRef, namespace: str, weight: int) -> Backend:
        name, port = backend.name, backend.port
        if port is None or not 1 <= port <= PORT_MAX:
            return _invalid(weight, f"missing port for backend Service {name}")
        reference = Reference("", "core", SERVICE, name, namespace, port)
        if not self.lookups.service((namespace, name)):
            return Backend(reference, weight, error=f"Service not found {name}")
        return Backend(reference, weight, self.lookups.authority(namespace, name, port))

    def _egress_network(self, backend: objects.BackendRef, namespace: str, weight: int) -> Backend:
        name, parent = backend.name, self.parent
        port = backend.port if backend.port and 1 <= backend.port <= PORT_MAX else 0
        if not port and parent.ip:
            port = parent.port
        reference = Reference("", POLICY_GROUP, EGRESS_NETWORK, name, namespace, port)
        if not self.lookups.egress_network((namespace, name)):
            return Backend(reference, weight, error=f"EgressNetwork not found {name}")
        if parent.kind != EGRESS_NETWORK:
            problem = "EgressNetwork backends attach to EgressNetwork parents only"
        elif not parent.ip:
            problem = "EgressNetwork can be resolved from an ip:port combo only"
        elif (parent.namespace, parent.name) != (namespace, name):
            problem = (
                "Route with EgressNetwork backend needs to have the same EgressNetwork as a parent"
            )
        else:
            return Backend(reference, weight, forward=True)
        return Backend(reference, weight, error=problem)


def _invalid(weight: int, problem: str) -> Backend:
    return Backend(Reference(default="invalid"), weight, error=problem)
