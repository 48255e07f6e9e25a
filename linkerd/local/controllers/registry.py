"""Which controller looks at what, and which keys a change concerns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from linkerd.kube.resources import (
    CONFIG_MAPS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from linkerd.local.controllers import (
    claim,
    cronjob,
    daemonset,
    deployment,
    endpointslice,
    garbage,
    job,
    namespace,
    replicaset,
    scheduler,
    statefulset,
)
from linkerd.local.controllers.facts import Object, is_terminating
from linkerd.local.controllers.plan import Plan
from linkerd.local.controllers.world import Key, World, key_of

Planner = Callable[[World, Key, float], Plan]

WATCHED = (
    NAMESPACES,
    NODES,
    SERVICE_ACCOUNTS,
    CONFIG_MAPS,
    SECRETS,
    SERVICES,
    PODS,
    REPLICA_SETS,
    DEPLOYMENTS,
    STATEFUL_SETS,
    DAEMON_SETS,
    JOBS,
    CRON_JOBS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
)
_BY_PLURAL = {resource.plural: resource for resource in WATCHED}
_BY_TYPE = {f"{resource.api_version}/{resource.kind}": resource for resource in WATCHED}
_OF_NAMESPACE = (SERVICE_ACCOUNTS.plural, CONFIG_MAPS.plural)


@dataclass(frozen=True, slots=True)
class Work:
    """One controller's look at one object."""

    controller: str
    key: Key


def planners(ca_pem: str) -> dict[str, Planner]:
    """Returns every controller of a cluster whose CA is `ca_pem`, by name."""
    return {
        NAMESPACES.plural: namespace.planner(ca_pem),
        DEPLOYMENTS.plural: deployment.plan,
        REPLICA_SETS.plural: replicaset.plan,
        STATEFUL_SETS.plural: statefulset.plan,
        DAEMON_SETS.plural: daemonset.plan,
        JOBS.plural: job.plan,
        CRON_JOBS.plural: cronjob.plan,
        SERVICES.plural: endpointslice.plan,
        PODS.plural: scheduler.plan,
        PERSISTENT_VOLUME_CLAIMS.plural: claim.plan,
        PERSISTENT_VOLUMES.plural: claim.release,
        "garbage": _collect,
    }


def concerned(world: World, resource: Resource, obj: Object, *, gone: bool) -> Iterator[Work]:
    """Yields the work that a change of `obj` makes; may repeat itself.

    Args:
        world: With the change applied.
        resource: Kind of `obj`.
        obj: As it is now, or as it was last.
        gone: It does not exist any more.
    """
    key = key_of(resource, obj)
    if key.plural in _PRIMARY and not gone:
        yield Work(key.plural, key)
    yield from _owners(resource, obj)
    if resource is PODS:
        for service in endpointslice.services_of(world, obj):
            yield Work(SERVICES.plural, service)
    elif resource is ENDPOINT_SLICES or resource is ENDPOINTS:
        labels = obj["metadata"].get("labels") or {}
        name = labels.get(endpointslice.SERVICE_NAME, key.name)
        yield Work(SERVICES.plural, Key(SERVICES.plural, key.namespace, name))
    elif resource is NODES:
        yield from _unplaced(world)
    elif resource is PERSISTENT_VOLUME_CLAIMS:
        name = obj["spec"].get("volumeName") or f"pvc-{obj['metadata']['uid']}"
        yield Work(PERSISTENT_VOLUMES.plural, Key(PERSISTENT_VOLUMES.plural, "", name))
    elif resource is PERSISTENT_VOLUMES:
        bound = obj["spec"].get("claimRef") or {}
        where = Key(
            PERSISTENT_VOLUME_CLAIMS.plural, bound.get("namespace", ""), bound.get("name", "")
        )
        yield Work(PERSISTENT_VOLUME_CLAIMS.plural, where)
    elif gone and key.plural in _OF_NAMESPACE:
        yield Work(NAMESPACES.plural, Key(NAMESPACES.plural, "", key.namespace))
    if gone or is_terminating(obj):
        for dependent in garbage.dependents_of(world, obj):
            yield Work("garbage", dependent)
    if not gone and (is_terminating(obj) or obj["metadata"].get("ownerReferences")):
        yield Work("garbage", key)


def _owners(resource: Resource, obj: Object) -> Iterator[Work]:
    for owner in obj["metadata"].get("ownerReferences") or ():
        kind = _BY_TYPE.get(f"{owner['apiVersion']}/{owner['kind']}")
        if kind is None:
            continue
        where = obj["metadata"].get("namespace", "") if kind.namespaced else ""
        key = Key(kind.plural, where, owner["name"])
        if kind.plural in _PRIMARY:
            yield Work(kind.plural, key)
        yield Work("garbage", key)


def _unplaced(world: World) -> Iterator[Work]:
    for pod in world.all(PODS):
        if not pod["spec"].get("nodeName"):
            yield Work(PODS.plural, key_of(PODS, pod))
    for daemon_set in world.all(DAEMON_SETS):
        yield Work(DAEMON_SETS.plural, key_of(DAEMON_SETS, daemon_set))


def _collect(world: World, key: Key, now: float) -> Plan:
    obj = world.at(key)
    if obj is None:
        return Plan()
    return garbage.collect(world, obj, _BY_PLURAL[key.plural], _BY_TYPE)


_PRIMARY = frozenset(planners("")) - {"garbage"}
