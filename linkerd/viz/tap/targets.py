"""Which pods a tap is about, and what to say when there are none. Pure.

Source: linkerd2 viz/tap/api/grpc_server.go, viz/pkg/labels (annotations).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from linkerd.errors import NotFound
from linkerd.gen import viz_pb2 as viz
from linkerd.viz import selector
from linkerd.viz.cluster import Cluster
from linkerd.viz.objects import Pod


@dataclass(frozen=True, slots=True)
class Found:
    """The meshed, running pods of a resource."""

    tappable: tuple[Pod, ...] = ()
    disabled: tuple[str, ...] = ()
    """Names of those that an annotation excludes."""

    not_enabled: tuple[str, ...] = ()
    """Names of those whose proxies do not know of tap: they are older than the extension."""


def pods(cluster: Cluster, target: viz.ResourceSelection, control_plane_ns: str) -> Found:
    """Returns the pods of a target, ordered by name.

    Args:
        cluster: The objects there are.
        target: A kind and a namespace, maybe a name and a label selector for its objects.
        control_plane_ns: Whose pods count as meshed.
    """
    resource = target.resource
    name = resource.namespace or resource.name if resource.type == "namespace" else resource.name
    matches = selector.parse(target.label_selector)
    members = {
        (pod.metadata.namespace, pod.metadata.name): pod
        for obj in cluster.objects(resource.type, resource.namespace, name, matches)
        for pod in cluster.pods_of(resource.type, obj)
    }
    tappable, disabled, not_enabled = [], [], []
    for _, pod in sorted(members.items()):
        if pod.status.phase != "Running" or not pod.meshed(control_plane_ns):
            continue
        if pod.tap_disabled:
            disabled.append(pod.metadata.name)
        elif not pod.tap_enabled:
            not_enabled.append(pod.metadata.name)
        elif pod.addresses:
            tappable.append(pod)
    return Found(tuple(tappable), tuple(disabled), tuple(not_enabled))


def require(found: Found, resource: viz.Resource) -> None:
    """Requires that there is something to tap.

    Raises:
        NotFound: there is not; the message says which pods are excluded and why.
    """
    if found.tappable:
        return
    lines = [f'no pods to tap for type="{resource.type}" name="{resource.name}"']
    if found.disabled:
        lines.append(f"{len(found.disabled)} pods found with tap disabled via annotation:")
        lines += _listed(found.disabled)
    if found.not_enabled:
        lines.append(f"{len(found.not_enabled)} pods found with tap not enabled:")
        lines += _listed(found.not_enabled)
        lines.append("restart these pods to enable tap and make them valid tap targets")
    raise NotFound("\n".join(lines))


def _listed(names: Iterable[str]) -> list[str]:
    return [f"\t* {name}" for name in names]


def listing(pods: Iterable[Pod], control_plane_ns: str) -> str:
    """Returns the meshed pods by whether they can be tapped, as `viz list` prints them."""
    enabled, disabled, missing = [], [], []
    for pod in sorted(pods, key=lambda pod: (pod.metadata.namespace, pod.metadata.name)):
        if not pod.meshed(control_plane_ns):
            continue
        name = f"{pod.metadata.namespace}/{pod.metadata.name}"
        if pod.tap_disabled:
            disabled.append(name)
        elif pod.tap_enabled:
            enabled.append(name)
        else:
            missing.append(name)
    blocks = [
        "\n".join([title, *_listed(names)])
        for title, names in (
            ("Pods with tap enabled:", enabled),
            ("Pods with tap disabled:", disabled),
            ("Pods missing tap configuration (restart these pods to enable tap):", missing),
        )
        if names
    ]
    return "\n\n".join(blocks or ["No meshed pods found"]) + "\n"
