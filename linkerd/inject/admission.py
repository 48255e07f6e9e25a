"""The webhook's decision: an AdmissionRequest and what is known of its namespace → a patch.

Source: linkerd2 controller/proxy-injector/webhook.go (behaviour, event texts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from linkerd.inject import keys, pod, verdict, workload
from linkerd.inject.config import Config
from linkerd.inject.jsonpatch import Operation, add, escape
from linkerd.model.ports import PortSet, port_set


@dataclass(frozen=True, slots=True)
class Decision:
    """What the webhook answers and what it records.

    `skipped` holds reason codes, empty when the pod is injected; `annotated_at` is "workload",
    "namespace" or "": where injection was asked for. `problems` are annotations that were ignored.
    """

    patch: list[Operation] = field(default_factory=list)
    injected: bool = False
    skipped: tuple[str, ...] = ()
    annotated_at: str = ""
    problems: tuple[str, ...] = ()

    @property
    def event(self) -> tuple[str, str]:
        """Reason and message of the event on the owner."""
        if self.injected:
            return "Injected", "Linkerd sidecar proxy injected"
        why = verdict.text(list(self.skipped))
        return "InjectionSkipped", f"Linkerd sidecar proxy injection skipped: {why}"


def decide_pod(
    document: dict[str, Any],
    config: Config,
    *,
    namespace: str,
    namespace_annotations: Mapping[str, str],
    owner: pod.Owner | None,
    created_by: str,
) -> Decision:
    """Returns the decision on a pod that is being created."""
    target = workload.parse(document)
    if target is None:
        return Decision(skipped=("unsupported_resource",))
    found = verdict.facts(
        target.spec,
        target.annotations,
        namespace_annotations,
        token_projection=config.token_projection,
        webhook=True,
    )
    if not found.injectable:
        patch = _opaque_patch(
            target.object,
            namespace_annotations,
            pod.default_opaque_ports(target.spec, config.opaque_ports),
        )
        return Decision(patch, skipped=tuple(found.reasons), annotated_at=found.annotated_at)
    injection = pod.inject(
        target,
        config,
        created_by=created_by,
        namespace=namespace,
        namespace_annotations=namespace_annotations,
        owner=owner,
    )
    return Decision(
        injection.patch,
        injected=True,
        annotated_at=found.annotated_at,
        problems=tuple(injection.problems),
    )


def decide_service(
    document: dict[str, Any], config: Config, *, namespace_annotations: Mapping[str, str]
) -> Decision:
    """Returns the decision on a Service: it learns which of its ports are opaque."""
    ports = (document.get("spec") or {}).get("ports") or ()
    opaque = port_set(config.opaque_ports)
    found = [str(port["port"]) for port in ports if _is_opaque(port, opaque)]
    patch = _opaque_patch(document, namespace_annotations, ",".join(dict.fromkeys(found)))
    return Decision(patch)


def _is_opaque(port: Mapping[str, Any], opaque: PortSet) -> bool:
    target = port.get("targetPort")
    if target in (None, 0, ""):
        return port.get("port") in opaque
    return isinstance(target, int) and target in opaque


def _opaque_patch(
    document: Mapping[str, Any], namespace_annotations: Mapping[str, str], default: str
) -> list[Operation]:
    metadata = document.get("metadata") or {}
    annotations = metadata.get("annotations")
    if keys.OPAQUE_PORTS in (annotations or {}):
        return []
    ports = namespace_annotations.get(keys.OPAQUE_PORTS) or default
    if not ports:
        return []
    patch = []
    if not isinstance(document.get("metadata"), dict):
        patch.append(add("/metadata", {}))
    if not isinstance(annotations, dict):
        patch.append(add("/metadata/annotations", {}))
    return [*patch, add(f"/metadata/annotations/{escape(keys.OPAQUE_PORTS)}", ports)]
