"""Objects that contain pods, seen as what injection needs of them.

Source: linkerd2 pkg/inject/inject.go (kinds, paths).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

_TEMPLATE = {
    "Deployment": "/spec/template",
    "ReplicaSet": "/spec/template",
    "StatefulSet": "/spec/template",
    "DaemonSet": "/spec/template",
    "ReplicationController": "/spec/template",
    "Job": "/spec/template",
    "CronJob": "/spec/jobTemplate/spec/template",
    "Pod": "",
}
ANNOTATED_ONLY = ("Namespace", "Service")
"""Kinds without pods that get annotations."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One object with a pod template; the mappings are the object's own, not copies.

    `path` is the JSON pointer of the template, `template` what lies there.
    """

    kind: str
    name: str
    namespace: str
    path: str
    object: Object
    template: Object

    @property
    def title(self) -> str:
        """Kind and name as reports write them: `deployment/web`."""
        return f"{self.kind.lower()}/{self.name}"

    @property
    def pod_metadata(self) -> Mapping[str, Any]:
        """The template's metadata, empty when it has none."""
        return self.template.get("metadata") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        """The template's annotations, empty when it has none."""
        return self.pod_metadata.get("annotations") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """The template's labels, empty when it has none."""
        return self.pod_metadata.get("labels") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """The template's pod spec."""
        return self.template.get("spec") or {}


def parse(document: Object) -> Workload | None:
    """Returns the workload that an object is, None for kinds without pods."""
    kind = document.get("kind")
    path = _TEMPLATE.get(kind) if isinstance(kind, str) else None
    if kind is None or path is None:
        return None
    template: Any = document
    for step in path.split("/")[1:]:
        template = template.get(step) if isinstance(template, dict) else None
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        return None
    metadata = document.get("metadata") or {}
    return Workload(
        kind=str(kind),
        name=str(metadata.get("name") or metadata.get("generateName") or ""),
        namespace=str(metadata.get("namespace") or ""),
        path=path,
        object=document,
        template=template,
    )


def containers(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields the init containers, then the containers."""
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def container_ports(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields the declared ports of all containers, init containers first."""
    for container in containers(spec):
        yield from container.get("ports") or ()
