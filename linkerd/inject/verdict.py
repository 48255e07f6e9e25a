"""Whether a pod gets a proxy, and if not, why: codes for metrics, texts for people.

Source: linkerd2 pkg/inject/report.go (codes, texts, rules).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linkerd.inject import keys
from linkerd.inject.proxy import ACCOUNT_DIR
from linkerd.inject.workload import container_ports, containers

TEXTS = {
    "host_network_enabled": "hostNetwork is enabled",
    "sidecar_already_exists": "pod has a sidecar injected already",
    "unsupported_resource": "this resource kind is unsupported",
    "injection_enable_annotation_absent": (
        'neither the namespace nor the pod have the annotation "linkerd.io/inject:enabled"'
    ),
    "injection_disable_annotation_present": 'pod has the annotation "linkerd.io/inject:disabled"',
    "invalid_inject_annotation_at_workload": (
        'invalid value for annotation "linkerd.io/inject" at workload'
    ),
    "invalid_inject_annotation_at_ns": (
        'invalid value for annotation "linkerd.io/inject" at namespace'
    ),
    "disabled_automount_service_account_token_account": (
        'automountServiceAccountToken set to "false", '
        'with Values.identity.serviceAccountTokenProjection set to "false"'
    ),
    "udp_ports_enabled": "UDP port(s) configured on pod spec",
}

_PROXY_NAMES = ("linkerd-proxy", "istio-proxy")
_PROXY_IMAGES = ("cr.l5d.io/linkerd/proxy:", "gcr.io/istio-release/proxyv2:")
_INIT_NAMES = ("linkerd-init", "istio-init")
_INIT_IMAGES = ("cr.l5d.io/linkerd/proxy-init:", "gcr.io/istio-release/proxy_init:")
_ENABLING = (keys.ENABLED, keys.INGRESS)
_VALUES = ("", keys.ENABLED, keys.INGRESS, keys.DISABLED)


@dataclass(frozen=True, slots=True)
class Facts:
    """What speaks against injecting a pod.

    `udp` never prevents; `disabled` and `annotated_at` come from the annotations.
    """

    host_network: bool = False
    sidecar: bool = False
    udp: bool = False
    no_token: bool = False
    disabled: str = ""
    annotated_at: str = ""

    @property
    def reasons(self) -> list[str]:
        """Codes of all that applies, empty when the pod can be injected."""
        found = []
        if self.host_network:
            found.append("host_network_enabled")
        if self.sidecar:
            found.append("sidecar_already_exists")
        if self.disabled:
            found.append(self.disabled)
        if self.no_token:
            found.append("disabled_automount_service_account_token_account")
        return found

    @property
    def injectable(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


def text(reasons: list[str]) -> str:
    """Returns the reasons for people, joined with a comma."""
    return ", ".join(TEXTS[reason] for reason in reasons)


def facts(
    spec: Mapping[str, Any],
    annotations: Mapping[str, str],
    namespace_annotations: Mapping[str, str],
    *,
    token_projection: bool,
    webhook: bool,
) -> Facts:
    """Returns what speaks against injecting a pod.

    Args:
        spec: The pod's.
        annotations: The pod's own.
        namespace_annotations: Its namespace's.
        token_projection: Whether the proxy proves itself by a token of its own.
        webhook: The webhook injects only what is enabled and looks for a mounted account; the CLI
            injects whatever is not disabled.
    """
    disabled, annotated_at = _annotated(annotations, namespace_annotations, webhook)
    return Facts(
        host_network=bool(spec.get("hostNetwork")),
        sidecar=has_sidecar(spec),
        udp=any(port.get("protocol") == "UDP" for port in container_ports(spec)),
        no_token=not token_projection and _without_token(spec, webhook),
        disabled=disabled,
        annotated_at=annotated_at,
    )


def has_sidecar(spec: Mapping[str, Any]) -> bool:
    """Returns whether a pod has a proxy already, ours or another mesh's."""
    for container in containers(spec):
        name, image = container.get("name"), str(container.get("image") or "")
        if name in _PROXY_NAMES or image.startswith(_PROXY_IMAGES):
            return True
    return any(
        container.get("name") in _INIT_NAMES
        or str(container.get("image") or "").startswith(_INIT_IMAGES)
        for container in spec.get("initContainers") or ()
    )


def _annotated(
    pod: Mapping[str, str], namespace: Mapping[str, str], webhook: bool
) -> tuple[str, str]:
    at_pod, at_namespace = pod.get(keys.INJECT, ""), namespace.get(keys.INJECT, "")
    if not webhook:
        absent = at_pod != keys.DISABLED
        return ("" if absent else "injection_disable_annotation_present"), ""
    if at_namespace not in _VALUES:
        return "invalid_inject_annotation_at_ns", ""
    if at_pod not in _VALUES:
        return "invalid_inject_annotation_at_workload", ""
    if at_pod == keys.DISABLED:
        return "injection_disable_annotation_present", "workload"
    if at_pod in _ENABLING:
        return "", "workload"
    if at_namespace in _ENABLING:
        return "", "namespace"
    return "injection_enable_annotation_absent", ""


def _without_token(spec: Mapping[str, Any], webhook: bool) -> bool:
    if spec.get("automountServiceAccountToken") is False:
        return True
    return webhook and not any(
        mount.get("mountPath") == ACCOUNT_DIR
        for container in spec.get("containers") or ()
        for mount in container.get("volumeMounts") or ()
    )
