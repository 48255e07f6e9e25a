"""What our controller says of routes, rate limits and EgressNetworks: objects in, statuses out.

    topics = statuses.apply(kind, item)          ("status", kind, namespace, name) of what to check
    statuses.patch(kind, key, now)               the status to write, None if the stored one is right

A status is made from the objects there are, and the times of conditions that stay are kept. What
other controllers said of a route is kept as it is.
Source: linkerd2 policy-controller/k8s/status/src/index.rs, index/conflict.rs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from linkerd.index import networks
from linkerd.index.attachments import (
    EGRESS_NETWORK,
    SERVER,
    SERVICE,
    ParentKey,
    backend_kind,
    new_route_stores,
    parent_key,
    parent_keys,
)
from linkerd.index.store import Store
from linkerd.model.objects import Server, Service, TargetRef
from linkerd.model.policy import POLICY_GROUP
from linkerd.model.route_objects import (
    BackendRef,
    Condition,
    EgressNetwork,
    ParentRef,
    ParentStatus,
    RateLimit,
    Route,
    accepted,
)
from linkerd.model.routes import CONTROLLER, KINDS

Topic = tuple[str, ...]
Key = tuple[str, str]

RATE_LIMITS = "httplocalratelimitpolicies"
EGRESS_NETWORKS = "egressnetworks"

_PRECEDENCE = ("GRPCRoute", "HTTPRoute", "TLSRoute", "TCPRoute")
_SAME_EGRESS = "EgressNetwork backend needs to be on a route that has an EgressNetwork parent"

ACCEPTED = Condition("Accepted", "True", "Accepted", "")
RESOLVED = Condition("ResolvedRefs", "True", "ResolvedRefs", "")


def _refused(reason: str, message: str = "") -> Condition:
    return Condition("Accepted", "False", reason, message)


def _unresolved(reason: str, message: str = "") -> Condition:
    return Condition("ResolvedRefs", "False", reason, message)


class StatusIndex:
    """All objects that statuses are made from."""

    def __init__(self, cluster_networks: Iterable[str]) -> None:
        self._cluster = tuple(networks.block_of(cidr) for cidr in cluster_networks)
        self.routes = new_route_stores()
        self.services: Store[Service] = Store()
        self.servers: Store[Server] = Store()
        self.egress_networks: Store[EgressNetwork] = Store()
        self.rate_limits: Store[RateLimit] = Store(target=_target)
        self._stores: dict[str, Store[Any]] = {
            "services": self.services,
            "servers": self.servers,
            EGRESS_NETWORKS: self.egress_networks,
            RATE_LIMITS: self.rate_limits,
            **self.routes,
        }

    def apply(self, kind: str, item: Any) -> set[Topic]:
        """Takes a created or changed object; returns the topics to check."""
        return self._changed(kind, self._stores[kind].apply(item), item)

    def delete(self, kind: str, item: Any) -> set[Topic]:
        """Takes a deleted object; returns the topics to check."""
        return self._changed(kind, self._stores[kind].delete(item.metadata.key), None)

    def reset(self, kind: str, items: Iterable[Any]) -> set[Topic]:
        """Takes all objects of a kind; others of that kind are gone."""
        store = self._stores[kind]
        topics: set[Topic] = set()
        kept: set[Key] = set()
        for item in items:
            kept.add(item.metadata.key)
            topics |= self.apply(kind, item)
        for key in store.all_keys():
            if key not in kept:
                topics |= self._changed(kind, store.delete(key), None)
        return topics

    def topics(self) -> set[Topic]:
        """Returns the topics of all objects that have statuses of ours."""
        kinds = (*self.routes, RATE_LIMITS, EGRESS_NETWORKS)
        return {("status", kind, *key) for kind in kinds for key in self._stores[kind].all_keys()}

    def patch(self, kind: str, key: Key, now: str) -> tuple[dict[str, Any], str] | None:
        """Returns the status that an object should have, with the version it was made from.

        Args:
            kind: As in topics.
            key: (namespace, name).
            now: RFC 3339, for conditions that are new.

        Returns:
            (status, resource version); None when the object is gone or its status is right.
        """
        item = self._stores[kind].get(key)
        if item is None:
            return None
        if kind == RATE_LIMITS:
            status = self._rate_limit(item, now)
        elif kind == EGRESS_NETWORKS:
            status = self._egress_network(item, now)
        else:
            status = self._route(kind, item, now)
        return None if status is None else (status, item.metadata.resource_version)

    # routes

    def _route(self, kind: str, route: Route, now: str) -> dict[str, Any] | None:
        others = [each for each in route.statuses if each.controller_name != CONTROLLER]
        ours = [each for each in route.statuses if each.controller_name == CONTROLLER]
        wanted: list[ParentStatus] = []
        for parent in route.parents:
            key = parent_key(route, parent)
            if key is None:
                continue
            reference = _status_reference(key, parent)
            before = next((each for each in ours if each.parent_ref == reference), None)
            conditions = tuple(
                _dated(each, before.conditions if before is not None else None, now)
                for each in self._conditions(kind, route, parent, key)
            )
            wanted.append(ParentStatus(reference, CONTROLLER, conditions))
        if _same(wanted, ours):
            return None
        return {"parents": [_parent_status(each) for each in (*others, *wanted)]}

    def _conditions(
        self, kind: str, route: Route, parent: ParentRef, key: ParentKey
    ) -> tuple[Condition, ...]:
        verdict = self._accepted(kind, parent, key)
        if key[0] == SERVER:
            return (verdict,)
        return verdict, self._resolved(route, key)

    def _accepted(self, kind: str, parent: ParentRef, key: ParentKey) -> Condition:
        owner, object_key = key[0], key[1:]
        if owner == SERVER:
            known = self.servers.get(object_key) is not None
        elif owner == SERVICE:
            service = self.services.get(object_key)
            known = service is not None
            if service is not None and (service.spec.type == "ExternalName" or not service.ips):
                return _refused("NoMatchingParent", "parent service must have a ClusterIP")
        else:
            network = self.egress_networks.get(object_key)
            known = network is not None
            if network is not None and self._network_condition(network) != ACCEPTED:
                return _refused("NoMatchingParent", "EgressNetwork parent has not been accepted")
        if not known:
            return _refused("NoMatchingParent")
        if self._is_in_conflict(kind, parent, key):
            return _refused("RouteReasonConflicted")
        return ACCEPTED

    def _is_in_conflict(self, kind: str, parent: ParentRef, key: ParentKey) -> bool:
        """Whether a route of a kind that goes before has exactly the same parent."""
        rank = _PRECEDENCE.index(KINDS[kind][1])
        port = None if key[0] == SERVER else parent.port
        for other, store in self.routes.items():
            if _PRECEDENCE.index(KINDS[other][1]) >= rank:
                continue
            for route in store.group("parent", key):
                for each in route.parents:
                    other_port = None if key[0] == SERVER else each.port
                    if parent_key(route, each) == key and other_port == port:
                        return True
        return False

    def _resolved(self, route: Route, parent: ParentKey) -> Condition:
        for backend in _backends(route):
            kind = backend_kind(backend)
            key = backend.namespace or route.metadata.namespace, backend.name
            if not kind:
                return _unresolved("InvalidKind")
            store: Store[Any] = self.services if kind == SERVICE else self.egress_networks
            if store.get(key) is None:
                return _unresolved("BackendNotFound")
            if kind == EGRESS_NETWORK and parent != (EGRESS_NETWORK, *key):
                return _unresolved("InvalidKind", _SAME_EGRESS)
        return RESOLVED

    # policies

    def _rate_limit(self, item: RateLimit, now: str) -> dict[str, Any] | None:
        targets = _target(item)
        if not targets:
            return None
        (target,) = targets
        if self.servers.get(target) is None:
            verdict = _refused("NoMatchingTarget")
        else:
            first = min(self.rate_limits.group("target", target), key=by_age)
            is_first = first.metadata.name == item.metadata.name
            verdict = ACCEPTED if is_first else _refused("RateLimitReasonAlreadyExists")
        before = item.status.conditions if item.status is not None else None
        reference = TargetRef("Server", target[1], POLICY_GROUP)
        targeted = item.status is not None and item.status.target_ref == reference
        if targeted and _undated(before) == (verdict,):
            return None
        return {
            "conditions": [_condition(_dated(verdict, before, now))],
            "targetRef": {"group": POLICY_GROUP, "kind": "Server", "name": target[1]},
        }

    def _egress_network(self, item: EgressNetwork, now: str) -> dict[str, Any] | None:
        before = (item.status.conditions if item.status is not None else None) or ()
        others = tuple(each for each in before if each.type != "Accepted")
        verdict = self._network_condition(item)
        if _undated(before) == (*_undated(others), verdict):
            return None
        wanted = (*others, _dated(verdict, before, now))
        return {"conditions": [_condition(each) for each in wanted]}

    def _network_condition(self, item: EgressNetwork) -> Condition:
        for area in networks.areas(item, self._cluster):
            if any(area.overlaps(block) for block in self._cluster):
                return _refused(
                    "EgressReasonNetworkOverlap", "networks overlap with clusterNetworks"
                )
        return ACCEPTED

    # what a change means

    def _changed(self, kind: str, before: Any, after: Any) -> set[Topic]:
        if before == after:
            return set()
        topics: set[Topic] = set()
        for item in (before, after):
            if item is not None:
                topics |= self._affected(kind, item)
        return topics

    def _affected(self, kind: str, item: Any) -> set[Topic]:
        key = item.metadata.key
        topics: set[Topic] = set()
        if kind in KINDS:
            topics |= {each for parent in parent_keys(item) for each in self._of("parent", parent)}
            topics.add(("status", kind, *key))
        elif kind == RATE_LIMITS:
            topics |= {each for target in _target(item) for each in self._limits_of(target)}
            topics.add(("status", kind, *key))
        elif kind == "servers":
            topics |= set(self._of("parent", (SERVER, *key))) | set(self._limits_of(key))
        else:
            owner = SERVICE if kind == "services" else EGRESS_NETWORK
            for group in ("parent", "backend"):
                topics |= set(self._of(group, (owner, *key)))
            if kind == EGRESS_NETWORKS:
                topics.add(("status", kind, *key))
        return topics

    def _of(self, group: str, value: ParentKey) -> Iterator[Topic]:
        for kind, store in self.routes.items():
            for route in store.group(group, value):
                yield ("status", kind, *route.metadata.key)

    def _limits_of(self, server: Key) -> Iterator[Topic]:
        for item in self.rate_limits.group("target", server):
            yield ("status", RATE_LIMITS, *item.metadata.key)


def by_age(item: Any) -> tuple[bool, str, str]:
    """The order in which the first of several policies is chosen: the oldest, then by name."""
    created = item.metadata.creation_timestamp
    return created is None, created or "", item.metadata.name


def is_accepted(item: RateLimit | EgressNetwork) -> bool:
    """Whether the status of a policy accepts it."""
    return item.status is not None and accepted(item.status.conditions)


def _target(item: RateLimit) -> tuple[Key, ...]:
    target = item.spec.target_ref
    if target.group.lower() == POLICY_GROUP and target.kind.lower() == "server":
        return ((item.metadata.namespace, target.name),)
    return ()


def _backends(route: Route) -> Iterator[BackendRef]:
    for rule in route.rules:
        yield from rule.backend_refs or ()


def _status_reference(key: ParentKey, parent: ParentRef) -> ParentRef:
    kind, namespace, name = key
    group = "core" if kind == SERVICE else POLICY_GROUP
    return ParentRef(name, kind, group, namespace, None if kind == SERVER else parent.port)


def _dated(wanted: Condition, before: tuple[Condition, ...] | None, now: str) -> Condition:
    """A condition with its time: the stored one's while its status stays."""
    for each in before or ():
        if (each.type, each.status) == (wanted.type, wanted.status) and each.last_transition_time:
            now = each.last_transition_time
    return msgspec.structs.replace(wanted, last_transition_time=now)


def _undated(conditions: tuple[Condition, ...] | None) -> tuple[Condition, ...]:
    return tuple(
        msgspec.structs.replace(each, last_transition_time=None, message=each.message or "")
        for each in conditions or ()
    )


def _same(wanted: list[ParentStatus], stored: list[ParentStatus]) -> bool:
    def summary(items: list[ParentStatus]) -> list[str]:
        return sorted(repr((each.parent_ref, _undated(each.conditions))) for each in items)

    return summary(wanted) == summary(stored)


def _parent_status(status: ParentStatus) -> dict[str, Any]:
    reference = {
        "group": status.parent_ref.group,
        "kind": status.parent_ref.kind,
        "namespace": status.parent_ref.namespace,
        "name": status.parent_ref.name,
        "port": status.parent_ref.port,
        "sectionName": status.parent_ref.section_name,
    }
    return {
        "parentRef": {name: value for name, value in reference.items() if value is not None},
        "controllerName": status.controller_name,
        "conditions": [_condition(each) for each in status.conditions or ()],
    }


def _condition(condition: Condition) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason or "",
        "message": condition.message or "",
        "lastTransitionTime": condition.last_transition_time,
    }
    if condition.observed_generation is not None:
        found["observedGeneration"] = condition.observed_generation
    return found
