"""What a cluster brings along and kube-apiserver does not: DNS, and kubelet's permissions."""

from __future__ import annotations

import json
from typing import Any

from tests.kubernetes.bed.configs import COREDNS_IMAGE
from tests.kubernetes.bed.paths import CLUSTER_DOMAIN, DNS_SERVICE_IP

Object = dict[str, Any]

_COREFILE = f""".:53 {{
    errors
    health
    ready
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
    cache 5
}}
"""
_LABELS = {"k8s-app": "kube-dns"}
_RBAC = "rbac.authorization.k8s.io"


def base() -> str:
    """Returns CoreDNS as Kubernetes' own set-up tools install it, as one manifest."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": _items()})


def _items() -> list[Object]:
    return [
        _object("v1", "ServiceAccount", "coredns"),
        {
            **_object(f"{_RBAC}/v1", "ClusterRole", "system:coredns"),
            "rules": [
                _rule("", "endpoints", "services", "pods", "namespaces"),
                _rule("discovery.k8s.io", "endpointslices"),
            ],
        },
        {
            **_object(f"{_RBAC}/v1", "ClusterRoleBinding", "system:coredns"),
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
        },
        {**_object("v1", "ConfigMap", "coredns"), "data": {"Corefile": _COREFILE}},
        _deployment(),
        {
            **_object("v1", "Service", "kube-dns", labels=_LABELS),
            "spec": {
                "clusterIP": DNS_SERVICE_IP,
                "selector": _LABELS,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        },
    ]


def _object(version: str, kind: str, name: str, labels: Object | None = None) -> Object:
    metadata: Object = {"name": name, "labels": labels or {}}
    if not kind.startswith("Cluster"):
        metadata["namespace"] = "kube-system"
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _rule(group: str, *resources: str) -> Object:
    return {"apiGroups": [group], "resources": list(resources), "verbs": ["list", "watch"]}


def _deployment() -> Object:
    container = {
        "name": "coredns",
        "image": COREDNS_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    return {
        **_object("apps/v1", "Deployment", "coredns", labels=_LABELS),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }
