"""A pod, a port and the mesh's settings → the endpoint that proxies are told.

Source: linkerd2 controller/api/destination/endpoint_translator.go, watcher/endpoints_watcher.go,
controller/k8s/api.go (GetOwnerKindAndName), pkg/k8s/labels.go (GetPodLabels).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from linkerd.model.endpoints import Endpoint
from linkerd.model.external import ExternalWorkload
from linkerd.model.names import CONTROL_PLANE_NS, OPAQUE_PORTS, SKIP_INBOUND_PORTS, Mesh
from linkerd.model.objects import LISTEN_VARIABLES, Container, OwnerReference, Pod, Server
from linkerd.model.ports import PortSet, listen_port, port_set

_PROXY = "linkerd-proxy"
_INBOUND, *_OWN = LISTEN_VARIABLES
_REPLICA_SET_OWNERS = ("Job", "StatefulSet", "DaemonSet", "Deployment")

Owners = Callable[[str, str, str], tuple[OwnerReference, ...] | None]
"""(kind, namespace, name) of a ReplicaSet or Job → its owners, None when it is not known."""


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """What decides how endpoints are described."""

    mesh: Mesh = field(default_factory=Mesh)
    default_opaque: PortSet = field(default_factory=PortSet)
    transport_header: bool = True
    h2_upgrade: bool = True
    ipv6: bool = True
    zone_weights: bool = False


def owner(pod: Pod, owners: Owners) -> tuple[str, str]:
    """Returns the kind (lower case) and name of what a pod belongs to; itself if nothing.

    A ReplicaSet that is not known yet is taken for a Deployment's if its name ends with the pod's
    template hash, so that the label does not flicker when caches fill.
    """
    references = pod.metadata.owner_references or ()
    if len(references) != 1:
        return "pod", pod.metadata.name
    parent = references[0]
    namespace = pod.metadata.namespace
    if parent.kind == "ReplicaSet":
        above = owners("ReplicaSet", namespace, parent.name)
        if above is None:
            digest = pod.metadata.label("pod-template-hash")
            if digest and parent.name.endswith(f"-{digest}"):
                return "deployment", parent.name[: -len(digest) - 1]
        elif len(above) == 1 and above[0].kind in _REPLICA_SET_OWNERS:
            return above[0].kind.lower(), above[0].name
    elif parent.kind == "Job":
        above = owners("Job", namespace, parent.name)
        if above and len(above) == 1 and above[0].kind == "CronJob":
            return "cronjob", above[0].name
    return parent.kind.lower(), parent.name


def labels(pod: Pod, owners: Owners) -> dict[str, str]:
    """Returns the metric labels of a pod, without its zone."""
    kind, name = owner(pod, owners)
    found = {"pod": pod.metadata.name, "k8s_job" if kind == "job" else kind: name}
    found["serviceaccount"] = pod.spec.service_account_name or "default"
    for label, key in ((CONTROL_PLANE_NS, "control_plane_ns"),):
        value = pod.metadata.label(label)
        if value:
            found[key] = value
    digest = pod.metadata.label("pod-template-hash")
    if digest:
        found["pod_template_hash"] = digest
    return found


def named_ports(pod: Pod) -> dict[str, int]:
    """Returns the named TCP ports that a pod's containers declare."""
    return {
        port.name: port.container_port
        for container in pod.spec.all_containers
        for port in container.ports or ()
        if port.name and port.protocol in ("TCP", "")
    }


def selects(server: Server, pod: Pod, port: int) -> bool:
    """Whether a Server of the pod's namespace is about this port of the pod."""
    selector = server.spec.pod_selector
    if selector is None or server.metadata.namespace != pod.metadata.namespace:
        return False
    if not selector.matches(pod.metadata.labels):
        return False
    wanted = server.spec.port
    if isinstance(wanted, int):
        return wanted == port
    if wanted.isdigit():
        return int(wanted) == port
    return any(
        declared.name == wanted and declared.container_port == port
        for container in pod.spec.all_containers
        for declared in container.ports or ()
    )


def selects_external(server: Server, workload: ExternalWorkload, port: int) -> bool:
    """Whether a Server of the workload's namespace is about this port of the workload."""
    selector = server.spec.external_workload_selector
    if selector is None or server.metadata.namespace != workload.metadata.namespace:
        return False
    if not selector.matches(workload.metadata.labels):
        return False
    wanted = server.spec.port
    if isinstance(wanted, int) or wanted.isdigit():
        return int(wanted) == port
    return workload.named_ports.get(wanted) == port


def is_opaque(pod: Pod, port: int, servers: Iterable[Server], default: PortSet) -> bool:
    """Whether the port's protocol must not be detected."""
    annotation = pod.metadata.annotation(OPAQUE_PORTS)
    ports = default if annotation is None else port_set(annotation, named_ports(pod))
    if port in ports:
        return True
    return any(
        server.spec.proxy_protocol == "opaque" and selects(server, pod, port) for server in servers
    )


def pod_endpoint(
    pod: Pod,
    ip: str,
    port: int,
    settings: MeshSettings,
    servers: Iterable[Server],
    owners: Owners,
    zone: str | None,
) -> Endpoint:
    """Returns how proxies reach a port of a pod.

    Args:
        pod: The pod.
        ip: The address that is used.
        port: Its port.
        settings: The mesh's.
        servers: Servers of the pod's namespace.
        owners: Looks up ReplicaSets and Jobs.
        zone: The endpoint's zone, None if it is not known.
    """
    opaque = is_opaque(pod, port, servers, settings.default_opaque)
    plane = pod.metadata.label(CONTROL_PLANE_NS)
    skipped = port in port_set(pod.metadata.annotation(SKIP_INBOUND_PORTS) or "", named_ports(pod))
    meshed = plane is not None and not skipped
    identity = hint = ""
    transport = 0
    mesh = settings.mesh
    if meshed:
        if plane == mesh.control_plane_ns and mesh.trust_domain:
            account = pod.spec.service_account_name or "default"
            identity = mesh.identity(pod.metadata.namespace, account)
        hint = "opaque" if opaque else "h2" if settings.h2_upgrade else ""
        variables = _proxy_variables(pod)
        own = {listen_port(variables.get(name) or "") for name in _OWN}
        if (settings.transport_header or opaque) and port not in own:
            transport = listen_port(variables.get(_INBOUND) or "") or 0
    return Endpoint(
        ip=ip,
        port=port,
        labels=tuple(sorted(labels(pod, owners).items())),
        identity=identity,
        server_name=identity,
        meshed=meshed,
        hint=hint,
        opaque_transport_port=transport,
        zone=zone,
        opaque=opaque,
    )


def external_endpoint(
    workload: ExternalWorkload,
    ip: str,
    port: int,
    settings: MeshSettings,
    servers: Iterable[Server],
    zone: str,
) -> Endpoint:
    """Returns how proxies reach a port of an external workload; it is meshed by definition."""
    annotation = workload.metadata.annotation(OPAQUE_PORTS)
    names = workload.named_ports
    ports = settings.default_opaque if annotation is None else port_set(annotation, names)
    opaque = port in ports or any(
        server.spec.proxy_protocol == "opaque" and selects_external(server, workload, port)
        for server in servers
    )
    labels = {"external_workload": workload.metadata.name}
    owners = workload.metadata.owner_references or ()
    if len(owners) == 1:
        labels[owners[0].kind.lower()] = owners[0].name
    transport = 0
    if (settings.transport_header or opaque) and port != workload.proxy_port:
        transport = workload.proxy_port
    return Endpoint(
        ip=ip,
        port=port,
        labels=tuple(sorted(labels.items())),
        uri_identity=workload.spec.mesh_tls.identity,
        server_name=workload.spec.mesh_tls.server_name,
        meshed=True,
        hint="opaque" if opaque else "h2",
        opaque_transport_port=transport,
        zone=zone,
        opaque=opaque,
    )


def _proxy_variables(pod: Pod) -> dict[str, str]:
    proxy: Container | None = next(
        (each for each in pod.spec.all_containers if each.name == _PROXY), None
    )
    if proxy is None:
        return {}
    return {each.name: each.value for each in proxy.env or () if each.value is not None}
