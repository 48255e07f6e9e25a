"""Names, addresses and files of one bed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.kubernetes.bed.build import cache

NODE_NAME = "bed"
#: On the bridge that all pods hang from: API server's and kubelet's address, pods' gateway.
NODE_IP = "10.77.0.1"
#: Where the default route points; nobody has this address.
NODE_GATEWAY = "10.77.0.254"
#: A second bridge of the node: neither the API server nor kubelet take an address of 10.244.0.0/16.
POD_CIDR = "10.244.0.0/24"
SERVICE_CIDR = "10.96.0.0/12"
API_SERVICE_IP = "10.96.0.1"
DNS_SERVICE_IP = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443
API_URL = f"https://{NODE_IP}:{API_PORT}"


@dataclass(frozen=True)
class Paths:
    """Files of the bed called `name`, all below one folder that `down` removes."""

    name: str

    @property
    def root(self) -> Path:
        home = os.environ.get("LINKERD_BED_HOME")
        return (Path(home) if home else cache() / "run") / self.name

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, with the API server's address on this machine's loopback."""
        return self.root / "kubeconfig"

    @property
    def pid(self) -> Path:
        """Process id of the bed's first process, as the machine sees it."""
        return self.root / "pid"

    @property
    def containerd_socket(self) -> Path:
        return self.root / "containerd.sock"

    @property
    def cgroup(self) -> str:
        """Below this cgroup are all pods, in every hierarchy."""
        return f"/linkerd-bed-{self.name}"

    def certificate(self, name: str) -> str:
        return str(self.pki / f"{name}.crt")

    def key(self, name: str) -> str:
        return str(self.pki / f"{name}.key")
