"""What a controller wants done: values that `engine` executes in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from linkerd.kube.resources import Resource

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object; `owner` becomes its controller when given."""

    resource: Resource
    body: Object


@dataclass(frozen=True, slots=True)
class Replace:
    """Replace an object as it was read, resourceVersion included."""

    resource: Resource
    body: Object


@dataclass(frozen=True, slots=True)
class Status:
    """Replace an object's status."""

    resource: Resource
    body: Object


@dataclass(frozen=True, slots=True)
class Merge:
    """Merge-patch an object."""

    resource: Resource
    target: Object
    patch: Object
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object if it is still the one that was seen (by uid)."""

    resource: Resource
    target: Object


@dataclass(frozen=True, slots=True)
class Bind:
    """Put a pod on a node."""

    pod: Object
    node: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Record an event about an object."""

    resource: Resource
    about: Object
    reason: str
    message: str
    type: str = "Normal"


@dataclass(frozen=True, slots=True)
class EmptyNamespace:
    """Delete every object in a namespace, then let the namespace go."""

    namespace: Object


Action = Create | Replace | Status | Merge | Delete | Bind | Emit | EmptyNamespace


@dataclass(slots=True)
class Plan:
    """Actions in order, and when to look again though nothing changed.

    Args:
        actions: What to do now.
        again_s: Seconds until the next look; None waits for a change.
    """

    actions: list[Action] = field(default_factory=list)
    again_s: float | None = None

    def again(self, seconds: float) -> None:
        """Asks for another look in `seconds` at the latest."""
        wait_s = max(seconds, 0.0)
        self.again_s = wait_s if self.again_s is None else min(self.again_s, wait_s)


def owner_reference(resource: Resource, owner: Object) -> Object:
    """Returns the reference that makes `owner` the controller of an object."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def with_status(obj: Object, status: Object) -> Object | None:
    """Returns `obj` with `status`, None when it has that status already."""
    if (obj.get("status") or {}) == status:
        return None
    return {**obj, "status": status}
