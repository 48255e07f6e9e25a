"""ExternalWorkloads: members of the mesh outside the cluster.

Source: linkerd2 controller/gen/apis/externalworkload/v1beta1/types.go.
"""

from __future__ import annotations

import msgspec

from linkerd.model.objects import Meta, Struct
from linkerd.model.route_objects import Condition

DEFAULT_PROXY_PORT = 4143
_PROXY_PORT = "linkerd-proxy"


class MeshTls(Struct, frozen=True):
    """How its proxy is known."""

    identity: str = ""
    server_name: str = ""


class Port(Struct, frozen=True):
    """A declared port."""

    port: int = 0
    name: str = ""
    protocol: str = "TCP"


class WorkloadIp(Struct, frozen=True):
    """One address."""

    ip: str = ""


class ExternalWorkloadSpec(Struct, frozen=True):
    """spec of an ExternalWorkload."""

    mesh_tls: MeshTls = msgspec.field(default=MeshTls(), name="meshTLS")
    ports: tuple[Port, ...] | None = None
    workload_ips: tuple[WorkloadIp, ...] | None = msgspec.field(default=None, name="workloadIPs")


class ExternalWorkloadStatus(Struct, frozen=True):
    """status of an ExternalWorkload."""

    conditions: tuple[Condition, ...] | None = None


class ExternalWorkload(Struct, frozen=True):
    """workload.linkerd.io ExternalWorkload."""

    metadata: Meta = Meta()
    spec: ExternalWorkloadSpec = ExternalWorkloadSpec()
    status: ExternalWorkloadStatus | None = None

    @property
    def ips(self) -> tuple[str, ...]:
        """Its addresses."""
        return tuple(each.ip for each in self.spec.workload_ips or () if each.ip)

    @property
    def ready(self) -> bool:
        """Whether its status says Ready."""
        conditions = self.status.conditions if self.status is not None else None
        return any(each.type == "Ready" and each.status == "True" for each in conditions or ())

    @property
    def named_ports(self) -> dict[str, int]:
        """Its named TCP ports."""
        return {
            each.name: each.port
            for each in self.spec.ports or ()
            if each.name and each.protocol in ("TCP", "")
        }

    @property
    def proxy_port(self) -> int:
        """The inbound port of its proxy."""
        return self.named_ports.get(_PROXY_PORT, DEFAULT_PROXY_PORT)
