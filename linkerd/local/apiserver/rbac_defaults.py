"""The roles and bindings that every cluster has.

Source: Kubernetes plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go (names and rules, for
the kinds that this server knows).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from linkerd.local.store import Obj

_GROUP = "rbac.authorization.k8s.io"
_BOOT = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]


def _rule(groups: str, resources: str, verbs: list[str], **more: Any) -> Obj:
    """Returns a rule; `groups` and `resources` are separated by spaces, `-` is the core group."""
    return {
        "apiGroups": ["" if group == "-" else group for group in groups.split()],
        "resources": resources.split(),
        "verbs": verbs,
        **more,
    }


def _paths(paths: str) -> Obj:
    return {"nonResourceURLs": paths.split(), "verbs": ["get"]}


_VIEWED = [
    _rule(
        "-",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
        "replicationcontrollers replicationcontrollers/scale serviceaccounts services "
        "services/status bindings events limitranges namespaces namespaces/status pods/log "
        "pods/status replicationcontrollers/status resourcequotas resourcequotas/status",
        _READ,
    ),
    _rule("discovery.k8s.io", "endpointslices", _READ),
    _rule(
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale "
        "deployments/status replicasets replicasets/scale replicasets/status statefulsets "
        "statefulsets/scale statefulsets/status",
        _READ,
    ),
    _rule("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", _READ),
    _rule("batch", "cronjobs cronjobs/status jobs jobs/status", _READ),
    _rule("policy", "poddisruptionbudgets poddisruptionbudgets/status", _READ),
    _rule("networking.k8s.io", "ingresses ingresses/status networkpolicies", _READ),
]
_EDITED = [
    _rule("-", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", _READ),
    _rule("-", "serviceaccounts", ["impersonate"]),
    _rule("-", "pods pods/attach pods/exec pods/portforward pods/proxy", _WRITE),
    _rule("-", "pods/eviction", ["create"]),
    _rule(
        "-",
        "configmaps events persistentvolumeclaims replicationcontrollers "
        "replicationcontrollers/scale secrets serviceaccounts services services/proxy",
        _WRITE,
    ),
    _rule("-", "serviceaccounts/token", ["create"]),
    _rule(
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets "
        "replicasets/scale statefulsets statefulsets/scale",
        _WRITE,
    ),
    _rule("autoscaling", "horizontalpodautoscalers", _WRITE),
    _rule("batch", "cronjobs jobs", _WRITE),
    _rule("policy", "poddisruptionbudgets", _WRITE),
    _rule("networking.k8s.io", "ingresses networkpolicies", _WRITE),
    _rule("coordination.k8s.io", "leases", [*_READ, *_WRITE]),
]
_ADMINISTERED = [
    _rule("authorization.k8s.io", "localsubjectaccessreviews", ["create"]),
    _rule(_GROUP, "rolebindings roles", [*_READ, *_WRITE]),
]
_DISCOVERY_PATHS = (
    "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"
)
_REVIEWS = [
    _rule("authentication.k8s.io", "tokenreviews", ["create"]),
    _rule("authorization.k8s.io", "subjectaccessreviews", ["create"]),
]

_CLUSTER_ROLES: dict[str, list[Obj]] = {
    "cluster-admin": [
        _rule("*", "*", ["*"]),
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ],
    "system:discovery": [_paths(_DISCOVERY_PATHS)],
    "system:public-info-viewer": [_paths("/healthz /livez /readyz /version /version/")],
    "system:basic-user": [
        _rule(
            "authorization.k8s.io",
            "selfsubjectaccessreviews selfsubjectrulesreviews",
            ["create"],
        ),
        _rule("authentication.k8s.io", "selfsubjectreviews", ["create"]),
    ],
    "system:auth-delegator": _REVIEWS,
    "system:service-account-issuer-discovery": [
        _paths(
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/"
        )
    ],
    "system:monitoring": [_paths("/healthz /healthz/* /livez /livez/* /metrics /readyz /readyz/*")],
    "system:aggregate-to-view": _VIEWED,
    "system:aggregate-to-edit": _EDITED,
    "system:aggregate-to-admin": _ADMINISTERED,
}
_AGGREGATED = ("admin", "edit", "view")
_CLUSTER_BINDINGS = {
    "cluster-admin": ("cluster-admin", ["system:masters"]),
    "system:discovery": ("system:discovery", ["system:authenticated"]),
    "system:basic-user": ("system:basic-user", ["system:authenticated"]),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        ["system:authenticated", "system:unauthenticated"],
    ),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        ["system:serviceaccounts"],
    ),
}


def objects() -> Iterator[Obj]:
    """Yields the default ClusterRoles, Roles and bindings."""
    for name, rules in _CLUSTER_ROLES.items():
        role = _object("ClusterRole", name)
        if name.startswith("system:aggregate-to-"):
            target = name.rpartition("-")[2]
            role["metadata"]["labels"][f"{_GROUP}/aggregate-to-{target}"] = "true"
        yield {**role, "rules": rules}
    for name in _AGGREGATED:
        yield _aggregated(name)
    for name, (role_name, groups) in _CLUSTER_BINDINGS.items():
        yield {
            **_object("ClusterRoleBinding", name),
            "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role_name},
            "subjects": [{"apiGroup": _GROUP, "kind": "Group", "name": group} for group in groups],
        }
    reader = _object("Role", "extension-apiserver-authentication-reader")
    reader["metadata"]["namespace"] = "kube-system"
    names = ["extension-apiserver-authentication"]
    yield {**reader, "rules": [_rule("-", "configmaps", _READ, resourceNames=names)]}


def _aggregated(name: str) -> Obj:
    role = _object("ClusterRole", name)
    if name != "admin":
        wider = {"view": "edit", "edit": "admin"}[name]
        role["metadata"]["labels"][f"{_GROUP}/aggregate-to-{wider}"] = "true"
    selector = {"matchLabels": {f"{_GROUP}/aggregate-to-{name}": "true"}}
    return {**role, "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": []}


def _object(kind: str, name: str) -> Obj:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": dict(_BOOT)},
    }
