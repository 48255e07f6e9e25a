"""The fields of Kubernetes' and Linkerd's objects that the control plane reads.

Watch events decode straight into these: unknown fields are skipped, `null` and absent are alike,
values are immutable. What a field means is in the API's reference, not repeated here. Of what pods
carry by the kilobyte, annotations and variables, only those of the mesh are kept.
Source: k8s.io/api core/v1, discovery/v1; linkerd2 policy-controller/k8s/api.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from msgspec.structs import force_setattr

LISTEN_VARIABLES = (
    "LINKERD2_PROXY_INBOUND_LISTEN_ADDR",
    "LINKERD2_PROXY_ADMIN_LISTEN_ADDR",
    "LINKERD2_PROXY_CONTROL_LISTEN_ADDR",
)
"""The variables of a proxy container that say which ports are its own."""

_MESH_ANNOTATIONS = ("linkerd.io/", "l5dx.io/")


class Struct(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """An immutable object whose JSON names are camelCase."""


class OwnerReference(Struct, frozen=True):
    """What an object belongs to."""

    kind: str = ""
    name: str = ""
    api_version: str = ""


class Meta(Struct, frozen=True):
    """metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "namespace", sys.intern(self.namespace))
        if self.annotations:
            kept = {
                name: value
                for name, value in self.annotations.items()
                if any(domain in name for domain in _MESH_ANNOTATIONS)
            }
            if len(kept) < len(self.annotations):
                force_setattr(self, "annotations", kept or None)
        if self.labels:
            intern = sys.intern
            shared = {intern(name): intern(value) for name, value in self.labels.items()}
            force_setattr(self, "labels", shared)

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.namespace, self.name

    def label(self, name: str) -> str | None:
        """Returns a label's value, None if there is none."""
        return (self.labels or {}).get(name)

    def annotation(self, name: str) -> str | None:
        """Returns an annotation's value, None if there is none."""
        return (self.annotations or {}).get(name)


class Named(Struct, frozen=True):
    """Any object of which only the metadata counts: ReplicaSet, Job, Node."""

    metadata: Meta = Meta()


class ContainerPort(Struct, frozen=True):
    """A declared port."""

    container_port: int = 0
    name: str = ""
    host_port: int = 0
    protocol: str = "TCP"


class EnvVar(Struct, frozen=True):
    """A variable with a literal value; others have none."""

    name: str = ""
    value: str | None = None


class HttpGet(Struct, frozen=True):
    """An HTTP probe."""

    port: int | str = 0
    path: str | None = None


class Probe(Struct, frozen=True):
    """A probe; only HTTP ones concern the mesh."""

    http_get: HttpGet | None = None


class Container(Struct, frozen=True):
    """A container or an init container."""

    name: str = ""
    ports: tuple[ContainerPort, ...] | None = None
    env: tuple[EnvVar, ...] | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None

    def __post_init__(self) -> None:
        if self.env:
            kept = tuple(each for each in self.env if each.name in LISTEN_VARIABLES)
            force_setattr(self, "env", kept or None)


class PodSpec(Struct, frozen=True):
    """spec of a Pod."""

    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None

    @property
    def all_containers(self) -> tuple[Container, ...]:
        """Containers, then init containers."""
        return (self.containers or ()) + (self.init_containers or ())


class PodIP(Struct, frozen=True):
    """One address of a pod."""

    ip: str = ""


class PodStatus(Struct, frozen=True):
    """status of a Pod."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(default=None, name="podIPs")
    host_ip: str = msgspec.field(default="", name="hostIP")


class Pod(Struct, frozen=True):
    """A pod."""

    metadata: Meta = Meta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ips(self) -> tuple[str, ...]:
        """All its addresses."""
        listed = tuple(each.ip for each in self.status.pod_ips or () if each.ip)
        return listed or ((self.status.pod_ip,) if self.status.pod_ip else ())


class ServicePort(Struct, frozen=True):
    """A port of a Service."""

    port: int = 0
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: int | str | None = None


class ServiceSpec(Struct, frozen=True):
    """spec of a Service."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    ports: tuple[ServicePort, ...] | None = None
    selector: dict[str, str] | None = None
    internal_traffic_policy: str | None = None
    ip_families: tuple[str, ...] | None = None


class Service(Struct, frozen=True):
    """A service."""

    metadata: Meta = Meta()
    spec: ServiceSpec = ServiceSpec()

    @property
    def ips(self) -> tuple[str, ...]:
        """Its cluster addresses; none when headless."""
        listed = self.spec.cluster_ips or ((self.spec.cluster_ip,) if self.spec.cluster_ip else ())
        return tuple(ip for ip in listed if ip and ip != "None")


class ObjectRef(Struct, frozen=True):
    """A reference to an object, as EndpointSlices have."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class Conditions(Struct, frozen=True):
    """Conditions of an endpoint; None is unknown and counts as ready."""

    ready: bool | None = None


class ForZone(Struct, frozen=True):
    """A zone hint."""

    name: str = ""


class Hints(Struct, frozen=True):
    """Hints of an endpoint."""

    for_zones: tuple[ForZone, ...] | None = None


class SliceEndpoint(Struct, frozen=True):
    """One endpoint of a slice."""

    addresses: tuple[str, ...] = ()
    conditions: Conditions | None = None
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: ObjectRef | None = None
    hints: Hints | None = None


class SlicePort(Struct, frozen=True):
    """One port of a slice."""

    port: int | None = None
    name: str | None = None
    protocol: str | None = None


class EndpointSlice(Struct, frozen=True):
    """A slice of a service's endpoints."""

    metadata: Meta = Meta()
    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None

    @property
    def service(self) -> str | None:
        """The service it belongs to, by label, else by owner."""
        named = self.metadata.label("kubernetes.io/service-name")
        if named:
            return named
        for owner in self.metadata.owner_references or ():
            if owner.kind == "Service":
                return owner.name
        return None


class Expression(Struct, frozen=True):
    """One requirement of a label selector."""

    key: str = ""
    operator: str = "In"
    values: tuple[str, ...] | None = None


class Selector(Struct, frozen=True):
    """A label selector; empty selects everything."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Expression, ...] | None = None

    def matches(self, labels: dict[str, str] | None) -> bool:
        """Whether it selects an object with these labels; an unknown operator selects nothing."""
        labels = labels or {}
        for key, value in (self.match_labels or {}).items():
            if labels.get(key) != value:
                return False
        return all(_holds(each, labels) for each in self.match_expressions or ())


def _holds(expression: Expression, labels: dict[str, str]) -> bool:
    value = labels.get(expression.key)
    match expression.operator:
        case "In":
            return value is not None and value in (expression.values or ())
        case "NotIn":
            return value is None or value not in (expression.values or ())
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False


class ServerSpec(Struct, frozen=True):
    """spec of a Server, all served versions."""

    port: int | str = 0
    pod_selector: Selector | None = None
    external_workload_selector: Selector | None = None
    proxy_protocol: str = "unknown"
    access_policy: str | None = None


class Server(Struct, frozen=True):
    """policy.linkerd.io Server."""

    metadata: Meta = Meta()
    spec: ServerSpec = ServerSpec()


class TargetRef(Struct, frozen=True):
    """A reference of a policy."""

    kind: str = ""
    name: str = ""
    group: str = ""
    namespace: str | None = None


class AuthorizationPolicySpec(Struct, frozen=True):
    """spec of an AuthorizationPolicy."""

    target_ref: TargetRef = TargetRef()
    required_authentication_refs: tuple[TargetRef, ...] | None = None


class AuthorizationPolicy(Struct, frozen=True):
    """policy.linkerd.io AuthorizationPolicy."""

    metadata: Meta = Meta()
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()


class MeshTLSAuthenticationSpec(Struct, frozen=True):
    """spec of a MeshTLSAuthentication."""

    identities: tuple[str, ...] | None = None
    identity_refs: tuple[TargetRef, ...] | None = None


class MeshTLSAuthentication(Struct, frozen=True):
    """policy.linkerd.io MeshTLSAuthentication."""

    metadata: Meta = Meta()
    spec: MeshTLSAuthenticationSpec = MeshTLSAuthenticationSpec()


class Network(Struct, frozen=True):
    """A block of addresses without some."""

    cidr: str = ""
    except_: tuple[str, ...] | None = msgspec.field(default=None, name="except")


class NetworkAuthenticationSpec(Struct, frozen=True):
    """spec of a NetworkAuthentication."""

    networks: tuple[Network, ...] | None = None


class NetworkAuthentication(Struct, frozen=True):
    """policy.linkerd.io NetworkAuthentication."""

    metadata: Meta = Meta()
    spec: NetworkAuthenticationSpec = NetworkAuthenticationSpec()


class ServiceAccountRef(Struct, frozen=True):
    """A service account, by default of the same namespace."""

    name: str = ""
    namespace: str | None = None


class MeshTLSClients(Struct, frozen=True):
    """Which TLS clients a ServerAuthorization permits."""

    unauthenticated_tls: bool = msgspec.field(default=False, name="unauthenticatedTLS")
    identities: tuple[str, ...] | None = None
    service_accounts: tuple[ServiceAccountRef, ...] | None = None


class Client(Struct, frozen=True):
    """Which clients a ServerAuthorization permits."""

    networks: tuple[Network, ...] | None = None
    unauthenticated: bool = False
    mesh_tls: MeshTLSClients | None = msgspec.field(default=None, name="meshTLS")


class ServerRef(Struct, frozen=True):
    """Which Servers a ServerAuthorization applies to."""

    name: str | None = None
    selector: Selector | None = None


class ServerAuthorizationSpec(Struct, frozen=True):
    """spec of a ServerAuthorization."""

    client: Client = Client()
    server: ServerRef = ServerRef()


class ServerAuthorization(Struct, frozen=True):
    """policy.linkerd.io ServerAuthorization."""

    metadata: Meta = Meta()
    spec: ServerAuthorizationSpec = ServerAuthorizationSpec()


class ServiceProfileSpec(Struct, frozen=True):
    """spec of a ServiceProfile; conditions are parsed by `linkerd.model.profiles`."""

    routes: tuple[dict[str, Any], ...] | None = None
    retry_budget: dict[str, Any] | None = None
    dst_overrides: tuple[dict[str, Any], ...] | None = None


class ServiceProfile(Struct, frozen=True):
    """linkerd.io ServiceProfile."""

    metadata: Meta = Meta()
    spec: ServiceProfileSpec = ServiceProfileSpec()
