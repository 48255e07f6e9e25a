"""One stored form for each object, several versions that clients see.

Custom kinds differ in `apiVersion` only (conversion strategy None). Of the built-in kinds two are
served in a second form: events of `events.k8s.io`, stored as core events, and autoscaling/v1.
Source: Kubernetes pkg/apis/events/v1/conversion.go, pkg/apis/autoscaling/v1/conversion.go.
"""

from __future__ import annotations

from linkerd.local.apiserver.kinds import Kind
from linkerd.local.store import Obj

#: (field of events.k8s.io, field of core events).
_EVENT_FIELDS = (
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
)


def same_form(kind: Kind) -> bool:
    """Whether stored bytes are what clients of this version see."""
    return kind.version == kind.storage_version and kind.storage == kind.resource


def to_storage(kind: Kind, obj: Obj) -> Obj:
    """Returns the object as it is kept; shares parts with `obj`."""
    if kind.group == "events.k8s.io":
        return {**_renamed(obj, _EVENT_FIELDS), "apiVersion": "v1", "kind": "Event"}
    if kind.group == "autoscaling" and kind.version == "v1":
        obj = _with_metrics(obj)
    group = f"{kind.group}/" if kind.group else ""
    return obj | {"kind": kind.kind, "apiVersion": group + kind.storage_version}


def from_storage(kind: Kind, obj: Obj) -> Obj:
    """Returns a stored object as this version of its kind; may change `obj`."""
    if kind.group == "events.k8s.io":
        obj = _renamed(obj, tuple((core, new) for new, core in _EVENT_FIELDS))
    elif kind.group == "autoscaling" and kind.version == "v1":
        obj = _with_percentage(obj)
    obj["apiVersion"] = kind.api_version
    return obj


def _renamed(obj: Obj, names: tuple[tuple[str, str], ...]) -> Obj:
    new_names = dict(names)
    return {new_names.get(key, key): value for key, value in obj.items()}


def _with_metrics(obj: Obj) -> Obj:
    spec = dict(obj.get("spec") or {})
    percentage = spec.pop("targetCPUUtilizationPercentage", None)
    if percentage is not None:
        target = {"type": "Utilization", "averageUtilization": percentage}
        resource = {"name": "cpu", "target": target}
        spec["metrics"] = [{"type": "Resource", "resource": resource}]
    return {**obj, "spec": spec}


def _with_percentage(obj: Obj) -> Obj:
    spec = dict(obj.get("spec") or {})
    for metric in spec.pop("metrics", None) or ():
        resource = metric.get("resource") or {}
        if resource.get("name") == "cpu":
            spec["targetCPUUtilizationPercentage"] = (resource.get("target") or {}).get(
                "averageUtilization"
            )
    return {**obj, "spec": spec}
