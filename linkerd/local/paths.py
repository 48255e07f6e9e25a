"""Where the parts of one local cluster keep their files: the layout of `<state>`.

    <state>/
    ├── kubeconfig              admin, from the host: https://127.0.0.1:<port>
    ├── store.db                every object (SQLite, WAL)
    ├── images.json             image name → command
    ├── node.sock               the node's kubelet API (unix socket)
    ├── logs/  pids/  images/   of the processes; of imported archives
    ├── volumes/                persistent volumes
    └── pki/                    private: 0700
        ├── ca.crt ca.key       the cluster's CA
        ├── apiserver.crt .key  serving certificate
        ├── front-proxy.*       CA and client certificate towards aggregated APIs
        ├── sa.key sa.pub       signs service-account tokens
        ├── admin.token  node.token  controllers.token
        └── node.kubeconfig  controllers.kubeconfig     from inside the node's network

Pure names: nothing here touches the disk.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: The address of the node's network namespace; the API server's second listener.
NODE_IP = "10.244.0.1"
#: The port of the API server inside the node's network.
NODE_API_PORT = 6443
#: The ClusterIP of `kubernetes.default.svc`.
API_SERVICE_IP = "10.96.0.1"
#: The ClusterIP of the cluster's DNS.
DNS_SERVICE_IP = "10.96.0.10"
#: The networks of pods and of services.
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/12"
#: What pods reach the host's loopback by, and its name; an address that no network has (RFC 5737).
HOST_IP = "192.0.2.1"
HOST_NAME = "host.linkerd.internal"
#: What volumes are made by that are folders below `<state>/volumes`.
VOLUME_DRIVER = "local.linkerd.io"
#: The cluster's DNS domain and the name of its only node.
CLUSTER_DOMAIN = "cluster.local"
NODE_NAME = "local"
#: Components with a token of their own; all are in `system:masters`.
COMPONENTS = ("admin", "node", "controllers")


@dataclass(frozen=True)
class Paths:
    """Every file and folder below one cluster's `<state>`."""

    state: Path

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig, for programs on the host."""
        return self.state / "kubeconfig"

    @property
    def store(self) -> Path:
        """The SQLite database of all objects."""
        return self.state / "store.db"

    @property
    def images_table(self) -> Path:
        """JSON: image name → `{"entrypoint", "cmd", "env", "user"}`."""
        return self.state / "images.json"

    @property
    def images(self) -> Path:
        """Folder of unpacked image archives."""
        return self.state / "images"

    @property
    def volumes(self) -> Path:
        """Folder of persistent volumes, one folder each."""
        return self.state / "volumes"

    @property
    def node_sock(self) -> Path:
        """Unix socket on which the node serves logs, exec and port-forward."""
        return self.state / "node.sock"

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.state / "logs"

    @property
    def pids(self) -> Path:
        """Folder of `<process>.pid` files."""
        return self.state / "pids"

    @property
    def pki(self) -> Path:
        """Folder of keys, certificates and tokens; mode 0700."""
        return self.state / "pki"

    @property
    def ca_cert(self) -> Path:
        """The CA that signed the API server's certificate (PEM)."""
        return self.pki / "ca.crt"

    def token(self, component: str) -> Path:
        """File with the bearer token of one of `COMPONENTS`."""
        return self.pki / f"{component}.token"

    def component_kubeconfig(self, component: str) -> Path:
        """Kubeconfig of `node` or `controllers`, for use inside the node's network namespace."""
        return self.pki / f"{component}.kubeconfig"


def default_state(cluster: str = "default", environ: dict[str, str] | None = None) -> Path:
    """Returns `<state>` of a cluster: `$LINKERD_LOCAL_HOME/<cluster>`, else below the home folder.

    Args:
        cluster: Name of the cluster.
        environ: The environment; default this process's.
    """
    env = os.environ if environ is None else environ
    home = env.get("LINKERD_LOCAL_HOME") or os.path.join(
        env.get("HOME") or os.path.expanduser("~"), ".linkerd", "local"
    )
    return Path(home) / cluster
