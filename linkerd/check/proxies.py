"""Checks of proxies: the control plane's own and the data plane's.

Source: linkerd2 pkg/healthcheck/healthcheck.go, healthcheck_labels (questions, order, texts).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from linkerd.check import cluster, versions
from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category, Check, Skip, failed
from linkerd.errors import CheckFailed
from linkerd.inject import keys, verdict
from linkerd.kube.resources import NAMESPACES, PODS, SERVICES

_NOT_CURRENT = "some proxies are not running the current version:"
_CONFIG_PREFIXES = ("config.linkerd.io/", "config.alpha.linkerd.io/")
_OPAQUE = "config.linkerd.io/opaque-ports"
#: Labels of the mesh that belong on a Service.
_MIRROR_LABELS = ("mirror.linkerd.io/exported", "mirror.linkerd.io/federated")


def control_plane(mesh: Mesh) -> Category:
    """Category linkerd-control-plane-proxy."""

    async def pods() -> list[cluster.Object]:
        return [p for p in await mesh.control_plane_pods() if cluster.proxy_container(p)]

    async def healthy() -> None:
        cluster.require_proxies(p for p in await pods() if cluster.phase(p) != "Succeeded")

    async def current() -> None:
        _require_current(await pods(), mesh)

    async def same() -> None:
        _require_same(await pods(), mesh)

    return Category(
        "linkerd-control-plane-proxy",
        (
            Check(
                "control plane proxies are healthy",
                "l5d-cp-proxy-healthy",
                healthy,
                fatal=True,
                retry=True,
                surface=True,
            ),
            Check(
                "control plane proxies are up-to-date",
                "l5d-cp-proxy-version",
                current,
                warning=True,
            ),
            Check(
                "control plane proxies and cli versions match",
                "l5d-cp-proxy-cli-version",
                same,
                warning=True,
            ),
        ),
    )


def data_plane(mesh: Mesh) -> Category:
    """Category linkerd-data-plane."""

    def warn(question: str, anchor: str, probe: Any) -> Check:
        return Check(question, anchor, partial(probe, mesh), warning=True)

    return Category(
        "linkerd-data-plane",
        (
            Check(
                "data plane namespace exists",
                "l5d-data-plane-exists",
                partial(namespace_exists, mesh),
                fatal=True,
            ),
            Check(
                "data plane proxies are ready",
                "l5d-data-plane-ready",
                partial(_ready, mesh),
                fatal=True,
                retry=True,
            ),
            warn("pods that ask for a proxy have one", "l5d-data-plane-ready", _asked),
            warn("data plane is up-to-date", "l5d-data-plane-version", _data_current),
            warn("data plane and cli versions match", "l5d-data-plane-cli-version", _data_same),
            warn(
                "data plane pod labels are configured correctly",
                "l5d-data-plane-pod-labels",
                _pod_labels,
            ),
            warn(
                "data plane service labels are configured correctly",
                "l5d-data-plane-services-labels",
                _service_labels,
            ),
            warn(
                "data plane service annotations are configured correctly",
                "l5d-data-plane-services-annotations",
                _service_annotations,
            ),
            warn(
                "opaque ports are properly annotated",
                "linkerd-opaque-ports-definition",
                _opaque_ports,
            ),
        ),
    )


async def namespace_exists(mesh: Mesh) -> None:
    """Raises CheckFailed when the data plane's namespace was named and does not exist."""
    name = mesh.data_namespace
    if name and await mesh.kube.get_or_none(NAMESPACES, name) is None:
        raise CheckFailed(f'The "{name}" namespace does not exist')


async def _ready(mesh: Mesh) -> None:
    pods = await mesh.data_plane_pods()
    if not pods:
        where = f' in the "{mesh.data_namespace}" namespace' if mesh.data_namespace else ""
        raise CheckFailed(f'no "linkerd-proxy" containers found{where}\n`linkerd inject` adds them')
    cluster.require_proxies(pods)


async def _asked(mesh: Mesh) -> None:
    """Warns of pods that the injector missed; says nothing where all is well, as Linkerd does."""
    namespaces = {
        body["metadata"]["name"]: cluster.annotations_of(body)
        for body in await mesh.kube.list(NAMESPACES)
    }
    pods = await mesh.kube.list(PODS, mesh.data_namespace or None)
    missed = [
        f"{cluster.full_name(pod)}{why}"
        for pod in pods
        for why in [missing(pod, namespaces.get(pod["metadata"]["namespace"], {}))]
        if why is not None
    ]
    if not missed:
        raise Skip
    raise failed("some pods should have a proxy and have none:", [*missed])


def missing(pod: cluster.Object, namespace_annotations: dict[str, str]) -> str | None:
    """Returns what to do about a pod that asks for a proxy and has none; None if all is well."""
    going = "deletionTimestamp" in pod["metadata"]
    if going or cluster.phase(pod) not in ("Pending", "Running"):
        return None
    own = cluster.annotations_of(pod)
    facts = verdict.facts(
        pod["spec"], own, namespace_annotations, token_projection=True, webhook=True
    )
    if facts.injectable:
        owned = pod["metadata"].get("ownerReferences")
        return ": restart its workload" if owned else ": delete it and create it again"
    asks = own.get(keys.INJECT) in (keys.ENABLED, keys.INGRESS)
    return f": {verdict.text(facts.reasons)}" if asks and facts.host_network else None


async def _data_current(mesh: Mesh) -> None:
    _require_current(await mesh.data_plane_pods(), mesh)


async def _data_same(mesh: Mesh) -> None:
    _require_same(await mesh.data_plane_pods(), mesh)


def _require_current(pods: list[cluster.Object], mesh: Mesh) -> None:
    versions.require_asked(mesh.expected_version)
    cluster.require_same_version(pods, mesh.expected_version, _NOT_CURRENT)


def _require_same(pods: list[cluster.Object], mesh: Mesh) -> None:
    for pod in pods:
        version = cluster.proxy_version(pod)
        if version and version != mesh.version:
            name = pod["metadata"]["name"]
            raise CheckFailed(f"{name} running {version} but cli running {mesh.version}")


async def _pod_labels(mesh: Mesh) -> None:
    wrong = [
        f"{cluster.full_name(pod)}\n\t\t{key} should be an annotation"
        for pod in await mesh.data_plane_pods()
        for key in cluster.labels_of(pod)
        if key.startswith(_CONFIG_PREFIXES) or key == "linkerd.io/inject"
    ]
    if wrong:
        raise failed("Some labels on data plane pods should be annotations:", wrong)


async def _service_labels(mesh: Mesh) -> None:
    wrong = [
        f"{cluster.full_name(service)}\n\t\t{key} should be an annotation"
        for service in await _services(mesh)
        for key in cluster.labels_of(service)
        if key.startswith(_CONFIG_PREFIXES)
    ]
    if wrong:
        raise failed("Some labels on data plane services should be annotations:", wrong)


async def _service_annotations(mesh: Mesh) -> None:
    wrong = [
        f"{cluster.full_name(service)}\n\t\t{key} should be a label"
        for service in await _services(mesh)
        for key in cluster.annotations_of(service)
        if key in _MIRROR_LABELS
    ]
    if wrong:
        raise failed("Some annotations on data plane services should be labels:", wrong)


async def _services(mesh: Mesh) -> list[cluster.Object]:
    return await mesh.kube.list(SERVICES, mesh.data_namespace or None)


async def _opaque_ports(mesh: Mesh) -> None:
    pods = await mesh.data_plane_pods()
    problems = []
    for service in await _services(mesh):
        selector = service["spec"].get("selector") or {}
        namespace = service["metadata"].get("namespace")
        for pod in pods:
            selected = selector and selector.items() <= cluster.labels_of(pod).items()
            if selected and pod["metadata"]["namespace"] == namespace:
                problems += opaque_mismatches(service, pod)
    if problems:
        raise CheckFailed("\n".join(f"\t* {line}" for line in dict.fromkeys(problems)))


def opaque_mismatches(service: cluster.Object, pod: cluster.Object) -> list[str]:
    """Returns a line for each target port that only one of a service and its pod calls opaque."""
    own, other = _opaque(service), _opaque(pod)
    lines = []
    for port in service["spec"].get("ports") or ():
        target = _number(port.get("targetPort", port["port"]), pod)
        on_service = own is not None and port["port"] in own
        on_pod = other is not None and target in other
        if on_service and not on_pod:
            lines.append(
                f"service {service['metadata']['name']} has target port {target} in the opaque ports"
                f" annotation as {port['port']}; add {target} to the annotation of"
                f" pod {pod['metadata']['name']}"
            )
        elif on_pod and not on_service:
            lines.append(
                f"pod {pod['metadata']['name']} has {target} in the opaque ports annotation;"
                f" add {port['port']} to the annotation of service {service['metadata']['name']}"
            )
    return lines


def _number(target: int | str, pod: cluster.Object) -> int | str:
    if isinstance(target, int):
        return target
    ports = (p for c in cluster.containers(pod) for p in c.get("ports") or ())
    return next((p["containerPort"] for p in ports if p.get("name") == target), target)


def _opaque(body: cluster.Object) -> set[int] | None:
    text = cluster.annotations_of(body).get(_OPAQUE)
    if text is None:
        return None
    ports: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            ports.update(range(int(first), int(last or first) + 1))
    return ports
