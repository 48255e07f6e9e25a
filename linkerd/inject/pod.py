"""The injection itself: a workload and settings → the JSON Patch that meshes its pods.

Source: linkerd2 pkg/inject/inject.go, charts/patch/templates/patch.json (order of operations).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from linkerd.inject import config as settings
from linkerd.inject import jsonpatch, keys, proxy
from linkerd.inject.config import Config
from linkerd.inject.jsonpatch import Operation, add, escape
from linkerd.inject.workload import Workload, container_ports, containers
from linkerd.model.ports import port_set
from linkerd.pki.digest import bundle_sha256


@dataclass(frozen=True, slots=True)
class Owner:
    """The topmost controller of a pod."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Injection:
    """The patch, and what was wrong with annotations (told, otherwise ignored)."""

    patch: list[Operation]
    problems: list[str]


def inject(
    workload: Workload,
    config: Config,
    *,
    created_by: str,
    namespace: str = "",
    namespace_annotations: Mapping[str, str] | None = None,
    owner: Owner | None = None,
    inject_annotation: bool = True,
) -> Injection:
    """Returns the patch that adds the proxy and what it needs.

    Args:
        workload: A pod at admission, or what makes pods.
        config: The cluster's settings.
        created_by: `linkerd/proxy-injector <version>` or `linkerd/cli <version>`.
        namespace: Of the workload; default: the one in its metadata.
        namespace_annotations: The namespace's; the inheritable ones are passed on.
        owner: For the label `linkerd.io/proxy-<kind>`.
        inject_annotation: Whether `linkerd.io/inject` may be passed on and stay.
    """
    own = workload.annotations
    inherited = inherited_annotations(own, namespace_annotations or {})
    if not inject_annotation:
        inherited.pop(keys.INJECT, None)
    pod_config, problems = _configured(config, {**own, **inherited}, namespace_annotations or {})
    annotations = dict(inherited)
    opaque = default_opaque_ports(workload.spec, pod_config.opaque_ports)
    if keys.OPAQUE_PORTS not in own and keys.OPAQUE_PORTS not in inherited and opaque:
        annotations[keys.OPAQUE_PORTS] = opaque
    annotations[keys.CREATED_BY] = created_by
    annotations[keys.PROXY_VERSION] = pod_config.image.version
    annotations[keys.TRUST_ROOT_SHA256] = bundle_sha256(pod_config.trust_anchors_pem)
    labels = {
        keys.CONTROL_PLANE_NS: config.control_plane_ns,
        keys.WORKLOAD_NS: namespace or workload.namespace,
    }
    if owner is not None:
        labels[keys.PROXY_OWNER + owner.kind.lower()] = owner.name
    patch = metadata_patch(workload, annotations, {k: v for k, v in labels.items() if v})
    patch += _spec_patch(workload, pod_config)
    return Injection(patch, problems)


def inherited_annotations(own: Mapping[str, str], namespace: Mapping[str, str]) -> dict[str, str]:
    """Returns what a pod takes over from its namespace: inheritable keys that it has not."""
    return {key: namespace[key] for key in keys.INHERITED if key in namespace and key not in own}


def metadata_patch(
    workload: Workload, annotations: Mapping[str, str], labels: Mapping[str, str]
) -> list[Operation]:
    """Returns the operations that set annotations and labels of the pod template."""
    base = f"{workload.path}/metadata"
    patch: list[Operation] = []
    if not isinstance(workload.template.get("metadata"), dict):
        patch.append(add(base, {}))
    for name, entries, present in (
        ("annotations", annotations, workload.pod_metadata.get("annotations")),
        ("labels", labels, workload.pod_metadata.get("labels")),
    ):
        if not entries:
            continue
        if not isinstance(present, dict):
            patch.append(add(f"{base}/{name}", {}))
        patch += (add(f"{base}/{name}/{escape(key)}", value) for key, value in entries.items())
    return patch


def inbound_ports(spec: Mapping[str, Any]) -> str:
    """Returns the ports that a pod's containers serve, probes included, sorted as texts.

    Source: linkerd2 pkg/inject/inject.go getPodInboundPorts (texts sort so there).
    """
    ports = {
        str(port["containerPort"]) for port in container_ports(spec) if "containerPort" in port
    }
    for container in containers(spec):
        for name in ("readinessProbe", "livenessProbe"):
            port = ((container.get(name) or {}).get("httpGet") or {}).get("port")
            if isinstance(port, int):
                ports.add(str(port))
    return ",".join(sorted(ports))


def default_opaque_ports(spec: Mapping[str, Any], opaque: str) -> str:
    """Returns those of the ports in `opaque` that containers declare, in order of declaration."""
    ports = port_set(opaque)
    found = [
        str(port["containerPort"])
        for port in container_ports(spec)
        if port.get("containerPort") in ports
    ]
    return ",".join(dict.fromkeys(found))


def resolved_ports(spec: Mapping[str, Any], opaque: str) -> str:
    """Returns `opaque` with the names of container ports replaced by their numbers."""
    names = {
        port["name"]: str(port["containerPort"])
        for port in container_ports(spec)
        if port.get("name") and "containerPort" in port
    }
    if not names:
        return opaque
    return ",".join(names.get(word.strip(), word.strip()) for word in opaque.split(","))


def _configured(
    config: Config, annotations: Mapping[str, str], namespace: Mapping[str, str]
) -> tuple[Config, list[str]]:
    pod_config, problems = settings.overridden(config, annotations)
    over = namespace.get(keys.ADDITIONAL_ENV)
    own = annotations.get(keys.ADDITIONAL_ENV)
    if over is not None and own is not None and own != over:
        # The namespace's variables lie between the cluster's and the pod's.
        try:
            merged = settings.additional_env([over, own], config.additional_env)
        except ValueError as error:
            problems.append(f"{keys.ADDITIONAL_ENV}: ignored: expected {error}")
        else:
            pod_config = replace(pod_config, additional_env=merged)
    return pod_config, problems


def _spec_patch(workload: Workload, config: Config) -> list[Operation]:
    spec = workload.spec
    base = f"{workload.path}/spec"
    first: Mapping[str, Any] = next(iter(spec.get("containers") or ()), {})
    capabilities = (first.get("securityContext") or {}).get("capabilities")
    patch: list[Operation] = []
    if not spec.get("volumes"):
        patch.append(add(f"{base}/volumes", []))
    if not spec.get("initContainers"):
        patch.append(add(f"{base}/initContainers", []))
    if config.cni:
        init = proxy.validator_container(config)
    else:
        patch.append(add(f"{base}/volumes/-", proxy.lock_volume(config)))
        init = proxy.init_container(config, capabilities)
    patch.append(add(f"{base}/initContainers/{0 if config.native else '-'}", init))
    if config.debug:
        patch.append(add(f"{base}/containers/-", proxy.debug_container(config)))
    patch.append(add(f"{base}/volumes/-", proxy.identity_volume()))
    if config.tracing is not None:
        patch.append(add(f"{base}/volumes/-", proxy.podinfo_volume()))
    if config.token_projection:
        patch.append(add(f"{base}/volumes/-", proxy.token_volume()))
    sidecar = proxy.proxy_container(
        config,
        proxy.Pod(
            inbound_ports=config.pod_inbound_ports or inbound_ports(spec),
            opaque_ports=resolved_ports(spec, config.opaque_ports),
            capabilities=capabilities,
            account_mount=_account_mount(first),
        ),
    )
    where = "initContainers/1" if config.native else f"containers/{0 if config.waits else '-'}"
    patch.append(add(f"{base}/{where}", sidecar))
    return patch


def _account_mount(container: Mapping[str, Any]) -> dict[str, Any] | None:
    for mount in container.get("volumeMounts") or ():
        if mount.get("mountPath") == proxy.ACCOUNT_DIR:
            return dict(mount)
    return None


def injected(workload: Workload, injection: Injection) -> dict[str, Any]:
    """Returns the workload's object with the patch applied."""
    result: dict[str, Any] = jsonpatch.apply(workload.object, injection.patch)
    return result
