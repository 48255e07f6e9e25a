"""What a cluster has before anybody asks for it: namespaces, the API's own service, roles.

Idempotent: what exists is left alone, except built-in roles, which are brought up to date.
Source: Kubernetes pkg/controlplane/controller/{systemnamespaces,kubernetesservice},
plugin/pkg/auth/authorizer/rbac/bootstrappolicy.
"""

from __future__ import annotations

from linkerd.local.apiserver import defaults, metadata, rbac_defaults
from linkerd.local.apiserver.kinds import Kind, Kinds
from linkerd.local.apiserver.services import allocate
from linkerd.local.paths import API_SERVICE_IP, NODE_API_PORT, NODE_IP, Paths
from linkerd.local.store import Obj, Store

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def run(store: Store, kinds: Kinds, paths: Paths, address: tuple[str, int]) -> None:
    """Makes what is missing.

    Args:
        store: Of the cluster.
        kinds: Built-in ones suffice.
        paths: Where the front-proxy's CA is.
        address: Where pods reach this server.
    """
    for name in NAMESPACES:
        _ensure(store, kinds, _object("v1", "Namespace", name))
    service = _object("v1", "Service", "kubernetes", "default")
    service["metadata"]["labels"] = {"component": "apiserver", "provider": "kubernetes"}
    service["spec"] = {
        "type": "ClusterIP",
        "clusterIP": API_SERVICE_IP,
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": address[1]}],
    }
    _ensure(store, kinds, service)
    _ensure(store, kinds, _slice(address), update=True)
    _ensure(store, kinds, _endpoints(address), update=True)
    for role in rbac_defaults.objects():
        _ensure(store, kinds, role, update=True)
    _ensure(store, kinds, _front_proxy(paths), update=True)


def node_address(inside: bool, port: int) -> tuple[str, int]:
    """Returns where pods reach the server: the node's address, or loopback without a node."""
    return (NODE_IP, NODE_API_PORT) if inside else ("127.0.0.1", port)


def _object(api_version: str, kind: str, name: str, namespace: str = "") -> Obj:
    meta = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": meta}


def _slice(address: tuple[str, int]) -> Obj:
    obj = _object("discovery.k8s.io/v1", "EndpointSlice", "kubernetes", "default")
    obj["metadata"]["labels"] = {"kubernetes.io/service-name": "kubernetes"}
    obj["addressType"] = "IPv4"
    obj["endpoints"] = [{"addresses": [address[0]], "conditions": {"ready": True}}]
    obj["ports"] = [{"name": "https", "port": address[1], "protocol": "TCP"}]
    return obj


def _endpoints(address: tuple[str, int]) -> Obj:
    obj = _object("v1", "Endpoints", "kubernetes", "default")
    obj["metadata"]["labels"] = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    ports = [{"name": "https", "port": address[1], "protocol": "TCP"}]
    obj["subsets"] = [{"addresses": [{"ip": address[0]}], "ports": ports}]
    return obj


def _front_proxy(paths: Paths) -> Obj:
    """Tells aggregated APIs how to recognise this server."""
    obj = _object("v1", "ConfigMap", "extension-apiserver-authentication", "kube-system")
    obj["data"] = {
        "client-ca-file": paths.ca_cert.read_text(),
        "requestheader-allowed-names": '["front-proxy-client"]',
        "requestheader-client-ca-file": (paths.pki / "front-proxy-ca.crt").read_text(),
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-username-headers": '["X-Remote-User"]',
    }
    return obj


def _ensure(store: Store, kinds: Kinds, obj: Obj, *, update: bool = False) -> None:
    kind = kinds.by_kind(obj["apiVersion"], obj["kind"])
    assert kind is not None
    namespace = obj["metadata"].get("namespace", "")
    current = store.get(kind.resource, namespace, obj["metadata"]["name"])
    if current is None:
        _create(store, kind, namespace, obj)
        return
    if not update:
        return
    defaults.apply(kind, obj)
    stored = current.decode()
    new = {**stored, **{key: value for key, value in obj.items() if key != "metadata"}}
    new["metadata"] = {
        **stored["metadata"],
        "labels": {**(stored["metadata"].get("labels") or {}), **obj["metadata"].get("labels", {})},
    }
    if not new["metadata"]["labels"]:
        del new["metadata"]["labels"]
    if new != stored:
        store.update(kind.resource, new)


def _create(store: Store, kind: Kind, namespace: str, obj: Obj) -> None:
    metadata.stamp_new(kind, obj, namespace)
    defaults.apply(kind, obj)
    allocate(kind, obj, None, store)
    store.create(kind.resource, obj)
