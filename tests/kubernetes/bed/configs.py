"""Command lines and configuration files of the node's components: decisions only, no process.

What is not set here keeps the component's default; where a default cannot work in a namespace of
its own on an unknown machine, a comment says why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.kubernetes.bed.paths import (
    API_PORT,
    CLUSTER_DOMAIN,
    DNS_SERVICE_IP,
    NODE_IP,
    NODE_NAME,
    POD_CIDR,
    SERVICE_CIDR,
    Paths,
)

PAUSE_IMAGE = "bed.local/pause:1"
COREDNS_IMAGE = "bed.local/coredns:1"
_ETCD = "http://127.0.0.1:2379"
_ISSUER = f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}"

Object = dict[str, Any]


def etcd(paths: Paths) -> list[str]:
    """Returns etcd's command line: no fsync, the data does not outlive the bed."""
    return [
        "etcd",
        f"--data-dir={paths.root}/etcd",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--logger=zap",
        "--log-level=warn",
    ]


def apiserver(paths: Paths, binaries: Path) -> list[str]:
    """Returns kube-apiserver's command line: RBAC, aggregation, bound tokens."""
    return [
        str(binaries / "kube-apiserver"),
        f"--etcd-servers={_ETCD}",
        f"--bind-address={NODE_IP}",
        f"--advertise-address={NODE_IP}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        f"--client-ca-file={paths.certificate('ca')}",
        f"--tls-cert-file={paths.certificate('apiserver')}",
        f"--tls-private-key-file={paths.key('apiserver')}",
        f"--service-account-issuer={_ISSUER}",
        f"--service-account-key-file={paths.key('service-account')}",
        f"--service-account-signing-key-file={paths.key('service-account')}",
        f"--kubelet-client-certificate={paths.certificate('apiserver-kubelet')}",
        f"--kubelet-client-key={paths.key('apiserver-kubelet')}",
        "--kubelet-preferred-address-types=InternalIP",
        # Aggregated APIs; routing by endpoint reaches webhooks even while kube-proxy starts.
        "--enable-aggregator-routing=true",
        f"--proxy-client-cert-file={paths.certificate('front-proxy-client')}",
        f"--proxy-client-key-file={paths.key('front-proxy-client')}",
        f"--requestheader-client-ca-file={paths.certificate('front-proxy-ca')}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
    ]


def controller_manager(paths: Paths, binaries: Path) -> list[str]:
    """Returns kube-controller-manager's command line. Start it when the API server is ready."""
    return [
        str(binaries / "kube-controller-manager"),
        f"--kubeconfig={paths.config}/controller-manager.kubeconfig",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={paths.key('service-account')}",
        f"--root-ca-file={paths.certificate('ca')}",
        f"--cluster-signing-cert-file={paths.certificate('ca')}",
        f"--cluster-signing-key-file={paths.key('ca')}",
        "--bind-address=127.0.0.1",
    ]


def scheduler(paths: Paths, binaries: Path) -> list[str]:
    """Returns kube-scheduler's command line."""
    return [
        str(binaries / "kube-scheduler"),
        f"--kubeconfig={paths.config}/scheduler.kubeconfig",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def containerd(paths: Paths) -> list[str]:
    """Returns containerd's command line."""
    return ["containerd", f"--config={paths.config}/containerd.toml"]


def kubelet(paths: Paths, binaries: Path) -> list[str]:
    """Returns kubelet's command line."""
    return [
        str(binaries / "kubelet"),
        f"--config={paths.config}/kubelet.json",
        f"--kubeconfig={paths.config}/kubelet.kubeconfig",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_IP}",
        f"--root-dir={paths.root}/kubelet",
        f"--cert-dir={paths.root}/kubelet/pki",
    ]


def kube_proxy(paths: Paths, binaries: Path) -> list[str]:
    """Returns kube-proxy's command line."""
    return [str(binaries / "kube-proxy"), f"--config={paths.config}/kube-proxy.json"]


def files(paths: Paths) -> dict[str, str]:
    """Returns the configuration files by name below `paths.config`."""
    return {
        "containerd.toml": _containerd(paths),
        "cni/10-bed.conflist": _json(_cni(paths)),
        "kubelet.json": _json(_kubelet(paths)),
        "kube-proxy.json": _json(_kube_proxy(paths)),
        # Pods that ask for the node's DNS get a resolver that answers nothing: there is no network.
        "resolv.conf": f"nameserver {NODE_IP}\n",
    }


def _json(value: Object) -> str:
    return json.dumps(value, indent=1)


def _containerd(paths: Paths) -> str:
    # restrict_oom_score_adj: negative values need CAP_SYS_RESOURCE, which containers of CI lack.
    return f"""\
version = 2
root = "{paths.root}/containerd"
state = "/run/containerd-bed"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.aufs"]

[grpc]
address = "{paths.containerd_socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{paths.config}/cni"
"""


def _cni(paths: Paths) -> Object:
    return {
        "cniVersion": "0.4.0",
        "name": "bed",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": f"{paths.root}/cni",
                    "ranges": [[{"subnet": POD_CIDR}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(paths: Paths) -> Object:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "containerRuntimeEndpoint": f"unix://{paths.containerd_socket}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": paths.certificate("ca")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": paths.certificate("kubelet-server"),
        "tlsPrivateKeyFile": paths.key("kubelet-server"),
        "clusterDNS": [DNS_SERVICE_IP],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": f"{paths.config}/resolv.conf",
        "podLogsDir": f"{paths.root}/pod-logs",
        "volumePluginDir": f"{paths.root}/volume-plugins",
        "cgroupDriver": "cgroupfs",
        # A root of its own keeps limits in the pods' cgroups and lets `down` find them.
        "cgroupRoot": paths.cgroup,
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        # The machine is not ours: neither its disk nor its memory decide who runs here.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "registerWithTaints": [],
        "syncFrequency": "10s",
        "shutdownGracePeriod": "0s",
    }


def _kube_proxy(paths: Paths) -> Object:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{paths.config}/proxy.kubeconfig"},
        "hostnameOverride": NODE_NAME,
        "bindAddress": NODE_IP,
        "clusterCIDR": POD_CIDR,
        "mode": "iptables",
        "iptables": {"minSyncPeriod": "100ms"},
        # nf_conntrack_max belongs to the machine.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
