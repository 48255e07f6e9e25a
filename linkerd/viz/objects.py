"""The parts of Kubernetes objects that viz reads; everything else is not even decoded."""

from __future__ import annotations

from datetime import datetime

import msgspec

from linkerd.viz.kinds import KINDS

PROXY = "linkerd-proxy"
"""Name of the proxy's container."""

CONTROL_PLANE_NS = "linkerd.io/control-plane-ns"
"""Label of meshed pods: the namespace of their control plane."""

COMPONENT = "linkerd.io/control-plane-component"
"""Label of the control plane's own pods."""


TAP_ENABLED = "viz.linkerd.io/tap-enabled"
"""Annotation of pods whose proxies were told who may tap them."""

DISABLE_TAP = "viz.linkerd.io/disable-tap"
"""Annotation of pods and namespaces that must not be tapped."""


class _Base(msgspec.Struct, frozen=True, rename="camel", gc=False):
    pass


class Owner(_Base, frozen=True):
    """A reference to the owner of an object."""

    kind: str = ""
    name: str = ""
    controller: bool = False


class Annotations(_Base, frozen=True):
    """The annotations that viz reads; others can be large and are not kept."""

    tap_enabled: str = msgspec.field(default="", name=TAP_ENABLED)
    disable_tap: str = msgspec.field(default="", name=DISABLE_TAP)


class Meta(_Base, frozen=True):
    """Metadata of an object."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: Annotations | None = None
    owner_references: list[Owner] | None = None
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: str | None = None

    @property
    def controller(self) -> Owner | None:
        """The owner that manages this object, if any."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)


class Env(_Base, frozen=True):
    """An environment variable of a container."""

    name: str = ""
    value: str = ""


class Container(_Base, frozen=True):
    """A container of a pod's specification."""

    name: str = ""
    image: str = ""
    env: list[Env] | None = None


class PodSpec(_Base, frozen=True):
    """A pod's specification."""

    containers: list[Container] = []
    init_containers: list[Container] | None = None
    service_account_name: str = ""
    host_network: bool = False


class Waiting(_Base, frozen=True):
    """Why a container waits or ended."""

    reason: str = ""
    message: str = ""
    exit_code: int = 0


class State(_Base, frozen=True):
    """A container's state; at most one field is set."""

    waiting: Waiting | None = None
    terminated: Waiting | None = None
    running: dict[str, str] | None = None


class ContainerStatus(_Base, frozen=True):
    """How a container is."""

    name: str = ""
    image: str = ""
    ready: bool = False
    state: State = State()
    last_state: State = State()


class PodIp(_Base, frozen=True):
    """One address of a pod."""

    ip: str = ""


class PodStatus(_Base, frozen=True):
    """How a pod is."""

    phase: str = ""
    reason: str = ""
    # Kubernetes' capitals do not follow the rule.
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: list[PodIp] | None = msgspec.field(default=None, name="podIPs")
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None


class Pod(_Base, frozen=True):
    """A pod."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def statuses(self) -> list[ContainerStatus]:
        """Of all containers, init containers first."""
        return [
            *(self.status.init_container_statuses or ()),
            *(self.status.container_statuses or ()),
        ]

    @property
    def addresses(self) -> list[str]:
        """All its IP addresses."""
        found = [entry.ip for entry in self.status.pod_ips or ()]
        return found or [self.status.pod_ip] * bool(self.status.pod_ip)

    @property
    def account(self) -> str:
        """Its service account."""
        return self.spec.service_account_name or "default"

    @property
    def tap_disabled(self) -> bool:
        """Whether an annotation forbids to tap it."""
        return truthy((self.metadata.annotations or Annotations()).disable_tap)

    @property
    def tap_enabled(self) -> bool:
        """Whether its proxy was told who may tap it."""
        return truthy((self.metadata.annotations or Annotations()).tap_enabled)

    @property
    def proxy(self) -> Container | None:
        """The proxy's container, a plain or an init one."""
        containers = (*(self.spec.init_containers or ()), *self.spec.containers)
        return next((c for c in containers if c.name == PROXY), None)

    def meshed(self, control_plane_ns: str) -> bool:
        """Whether the pod belongs to the mesh of that control plane."""
        return (self.metadata.labels or {}).get(CONTROL_PLANE_NS) == control_plane_ns

    @property
    def proxy_ready(self) -> bool:
        """Whether the proxy's container is ready."""
        return any(status.name == PROXY and status.ready for status in self.statuses)

    @property
    def display_status(self) -> str:
        """What `kubectl get pods` would show: the phase, or why containers wait or ended."""
        if self.metadata.deletion_timestamp:
            return "Terminating"
        for status in self.status.init_container_statuses or ():
            waiting = status.state.waiting
            if waiting is not None and waiting.reason not in ("", "PodInitializing"):
                return f"Init:{waiting.reason}"
            ended = status.state.terminated
            if ended is not None and ended.exit_code != 0:
                return f"Init:{ended.reason or 'Error'}"
        for status in self.status.container_statuses or ():
            waiting = status.state.waiting
            if waiting is not None and waiting.reason:
                return waiting.reason
            ended = status.state.terminated
            if ended is not None and ended.reason:
                return ended.reason
        return self.status.reason or self.status.phase

    @property
    def identity(self) -> str:
        """The mesh identity that the injector gave the proxy; empty unless the pod runs.

        Source: linkerd2 pkg/k8s/identity.go (from the proxy's environment).
        """
        proxy = self.proxy
        if self.status.phase != "Running" or proxy is None:
            return ""
        env = {entry.name: entry.value for entry in proxy.env or ()}
        name = env.get("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "")
        known = {
            **env,
            "_pod_sa": self.spec.service_account_name,
            "_pod_ns": self.metadata.namespace,
        }
        for variable, value in known.items():
            name = name.replace(f"$({variable})", value)
        return name


class NodeAddress(_Base, frozen=True):
    """One address of a node."""

    type: str = ""
    address: str = ""


class NodeStatus(_Base, frozen=True):
    """How a node is."""

    addresses: list[NodeAddress] | None = None


class Node(_Base, frozen=True):
    """A node."""

    metadata: Meta
    status: NodeStatus = NodeStatus()


class ServiceSpec(_Base, frozen=True):
    """A service's specification."""

    selector: dict[str, str] | None = None


class Service(_Base, frozen=True):
    """A service."""

    metadata: Meta
    spec: ServiceSpec = ServiceSpec()


class Workload(_Base, frozen=True):
    """Any other object: only its metadata counts."""

    metadata: Meta


Object = Pod | Service | Node | Workload


def truthy(text: str) -> bool:
    """Returns whether an annotation's value says yes, as Go's ParseBool reads it."""
    return text in ("1", "t", "T", "TRUE", "true", "True")


KUBE_KIND = {
    "Pod": "pod",
    "Deployment": "deployment",
    "ReplicaSet": "replicaset",
    "ReplicationController": "replicationcontroller",
    "StatefulSet": "statefulset",
    "DaemonSet": "daemonset",
    "Job": "job",
    "CronJob": "cronjob",
}
"""Kubernetes' kind → ours, for owners of pods."""

WATCHED = (*(name for name, kind in KINDS.items() if kind.owns_pods), "service")
"""Kinds that metrics-api keeps in memory."""
