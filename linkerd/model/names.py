"""Names that travel: authorities, workloads, context tokens and mesh identities."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import msgspec

from linkerd.errors import WireError
from linkerd.model.ports import port_of

CONTROL_PLANE_NS = "linkerd.io/control-plane-ns"
"""Label of every injected pod; its value is the control plane's namespace."""

OPAQUE_PORTS = "config.linkerd.io/opaque-ports"
SKIP_INBOUND_PORTS = "config.linkerd.io/skip-inbound-ports"
DEFAULT_INBOUND_POLICY = "config.linkerd.io/default-inbound-policy"
REQUIRE_IDENTITY_PORTS = "config.linkerd.io/proxy-require-identity-inbound-ports"


@dataclass(frozen=True, slots=True)
class ServiceName:
    """A service, and one instance of it when `instance` is set (`pod-0.svc.ns.svc…`)."""

    namespace: str
    name: str
    instance: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Authority:
    """Host and port; `ip` is set when the host is an address, normalised."""

    host: str
    port: int
    ip: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """What a proxy says of itself in the context token; empty when it says nothing."""

    namespace: str = ""
    node: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Mesh:
    """The names that identities and authorities are built from."""

    control_plane_ns: str = "linkerd"
    trust_domain: str = "cluster.local"
    cluster_domain: str = "cluster.local"

    def identity(self, namespace: str, service_account: str) -> str:
        """Returns the TLS name of a service account's pods."""
        return f"{service_account}.{self.namespace_suffix(namespace)}"

    def namespace_suffix(self, namespace: str) -> str:
        """Returns what the identities of a namespace end with, without the leading dot."""
        return f"{namespace}.serviceaccount.identity.{self.control_plane_ns}.{self.trust_domain}"

    def service_fqdn(self, namespace: str, name: str) -> str:
        """Returns `name.namespace.svc.<cluster domain>`."""
        return f"{name}.{namespace}.svc.{self.cluster_domain}"


def authority(text: str) -> Authority:
    """Returns host and port of `host`, `host:port`, `ip:port`, `[v6]:port`; no port means 80.

    Raises:
        WireError: there is no host, or the port is not 1..65535.
    Source: linkerd2 controller/api/destination/server.go (getHostAndPort).
    """
    host, colon, port_text = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.startswith("[")):
        host, port_text = text, "80"
    port = port_of(port_text)
    host = host.strip("[]")
    if not host or port is None:
        raise WireError(f"authority {text!r} is no host:port")
    return Authority(host, port, _address(host))


def service_name(host: str, cluster_domain: str) -> ServiceName | None:
    """Returns the service that `[instance.]name.namespace.svc.<domain>` names, None if it is none.

    Source: linkerd2 controller/api/destination/watcher/k8s.go (parseK8sServiceName).
    """
    suffix = f".svc.{cluster_domain}"
    if not host.endswith(suffix):
        return None
    labels = host[: -len(suffix)].split(".")
    if not all(labels) or len(labels) not in (2, 3):
        return None
    *instance, name, namespace = labels
    return ServiceName(namespace, name, instance[0] if instance else "")


class _Token(msgspec.Struct):
    ns: str = ""
    nodeName: str = ""  # noqa: N815  (the wire's name)
    pod: str = ""


_TOKEN = msgspec.json.Decoder(_Token)


def caller(token: str) -> Caller:
    """Returns what a context token says; anything malformed counts as empty.

    Source: linkerd2 controller/api/destination/server.go (parseContextToken): JSON, or `ns:<name>`.
    """
    if not token:
        return Caller()
    if token.startswith("ns:"):
        return Caller(namespace=token[3:].strip())
    try:
        parsed = _TOKEN.decode(token.strip())
    except msgspec.MsgspecError:
        return Caller()
    return Caller(parsed.ns, parsed.nodeName, parsed.pod)


@dataclass(frozen=True, slots=True)
class WorkloadName:
    """Whose inbound policy is asked for; one of `pod` and `external_workload` is set."""

    namespace: str
    pod: str = ""
    external_workload: str = ""


class _Workload(msgspec.Struct):
    ns: str = ""
    pod: str = ""
    external_workload: str = ""


_WORKLOAD = msgspec.json.Decoder(_Workload)


def workload_name(text: str) -> WorkloadName:
    """Returns the workload in `ns:pod` or `{"ns": …, "pod"|"external_workload": …}`.

    Raises:
        WireError: it is neither.
    Source: linkerd2 policy-controller/grpc/src/workload.rs.
    """
    text = text.strip()
    if text.startswith("{"):
        try:
            parsed = _WORKLOAD.decode(text)
        except msgspec.MsgspecError:
            raise WireError(f"workload {text!r} is malformed") from None
        if parsed.ns and bool(parsed.pod) != bool(parsed.external_workload):
            return WorkloadName(parsed.ns, parsed.pod, parsed.external_workload)
    else:
        namespace, _, pod = text.partition(":")
        if namespace and pod:
            return WorkloadName(namespace, pod)
    raise WireError(f"workload {text!r} is malformed")


def _address(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""
