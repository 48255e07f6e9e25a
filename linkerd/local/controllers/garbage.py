"""Garbage collection: what nobody owns any more is deleted.

    owner gone                      → delete its dependents (background)
    owner has `foregroundDeletion`  → delete its dependents, then let it go
    owner has `orphan`              → take its dependents' owner references away, then let it go

Source: kubernetes pkg/controller/garbagecollector/garbagecollector.go.
"""

from __future__ import annotations

from linkerd.kube.resources import Resource
from linkerd.local.controllers.facts import Object, is_terminating
from linkerd.local.controllers.plan import Delete, Merge, Plan
from linkerd.local.controllers.world import Key, World

_FOREGROUND = "foregroundDeletion"
_ORPHAN = "orphan"


def collect(world: World, obj: Object, resource: Resource, watched: dict[str, Resource]) -> Plan:
    """Returns what to do about one object that has owners or is being deleted.

    An owner counts as gone only when its kind is watched; owners of other kinds are left alone.

    Args:
        world: What is known.
        obj: The object.
        resource: Its kind.
        watched: Kinds that the world is complete for, by `apiVersion/kind`.
    """
    result = Plan()
    if is_terminating(obj):
        _finalize(result, world, obj, resource, watched)
        return result
    owners = obj["metadata"].get("ownerReferences") or ()
    known = [owner for owner in owners if f"{owner['apiVersion']}/{owner['kind']}" in watched]
    if known and len(known) == len(owners) and not any(world.has_uid(o["uid"]) for o in owners):
        result.actions.append(Delete(resource, obj))
    return result


def _finalize(
    result: Plan, world: World, obj: Object, resource: Resource, watched: dict[str, Resource]
) -> None:
    finalizers = obj["metadata"].get("finalizers") or []
    uid = obj["metadata"]["uid"]
    by_plural = {kind.plural: kind for kind in watched.values()}
    dependents = [(key, world.at(key)) for key in world.dependents(uid)]
    if _ORPHAN in finalizers:
        for key, dependent in dependents:
            if dependent is not None:
                kept = [
                    owner
                    for owner in dependent["metadata"]["ownerReferences"]
                    if owner["uid"] != uid
                ]
                patch = {"metadata": {"ownerReferences": kept or None}}
                result.actions.append(Merge(by_plural[key.plural], dependent, patch))
        _release(result, obj, resource, _ORPHAN)
    elif _FOREGROUND in finalizers:
        left = [(key, dependent) for key, dependent in dependents if dependent is not None]
        for key, dependent in left:
            if not is_terminating(dependent):
                result.actions.append(Delete(by_plural[key.plural], dependent))
        if not left:
            _release(result, obj, resource, _FOREGROUND)


def _release(result: Plan, obj: Object, resource: Resource, finalizer: str) -> None:
    kept = [name for name in obj["metadata"]["finalizers"] if name != finalizer]
    result.actions.append(Merge(resource, obj, {"metadata": {"finalizers": kept or None}}))


def dependents_of(world: World, obj: Object) -> list[Key]:
    """Returns the keys to look at again because `obj` changed or went."""
    return world.dependents(obj["metadata"]["uid"])
