"""May this user do that: RBAC over the stored roles and bindings.

Source: Kubernetes pkg/registry/rbac/validation/rule.go, plugin/pkg/auth/authorizer/rbac/rbac.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from linkerd.local.apiserver.authn import MASTERS, User
from linkerd.local.apiserver.selectors import from_object
from linkerd.local.store import Change, Obj, Store

GROUP = "rbac.authorization.k8s.io"
_RESOURCES = tuple(
    f"{plural}.{GROUP}"
    for plural in ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
)
#: Anyone may read these, token or not.
OPEN_PATHS = ("/version", "/healthz", "/readyz", "/livez")


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody wants to do; `resource` "" means the non-resource `path`."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    def denial(self, user: User) -> str:
        """Returns the sentence that refuses this to a user."""
        if not self.resource:
            return f'User "{user.name}" cannot {self.verb} path "{self.path}"'
        resource = self.resource + (f"/{self.subresource}" if self.subresource else "")
        scope = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return (
            f'User "{user.name}" cannot {self.verb} resource "{resource}" in API group '
            f'"{self.group}" {scope}'
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer and the binding that gave it."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Grant:
    """A binding resolved to its role's rules; `namespace` "" is everywhere."""

    namespace: str
    subjects: tuple[tuple[str, str], ...]
    rules: tuple[Obj, ...]
    reason: str


class Authorizer:
    """Decides by the roles and bindings in the store; follows their changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._grants: list[_Grant] | None = None
        for resource in _RESOURCES:
            store.listen(resource, self._changed)

    def _changed(self, change: Change) -> None:
        self._grants = None

    def decide(self, user: User, act: Act) -> Verdict:
        """Returns whether a user may act."""
        if MASTERS in user.groups:
            return Verdict(True)
        if not act.resource and act.verb == "get" and act.path.rstrip("/") in OPEN_PATHS:
            return Verdict(True)
        for grant in self._of(user, act.namespace):
            if any(covers(rule, act) for rule in grant.rules):
                return Verdict(True, grant.reason)
        return Verdict(False)

    def rules(self, user: User, namespace: str) -> tuple[list[Obj], list[Obj]]:
        """Returns the resource rules and non-resource rules that hold for a user."""
        resource_rules: list[Obj] = []
        path_rules: list[Obj] = []
        if MASTERS in user.groups:
            resource_rules.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
            path_rules.append({"verbs": ["*"], "nonResourceURLs": ["*"]})
        for grant in self._of(user, namespace):
            for rule in grant.rules:
                (path_rules if rule.get("nonResourceURLs") else resource_rules).append(rule)
        return resource_rules, path_rules

    def _of(self, user: User, namespace: str) -> Iterator[_Grant]:
        if self._grants is None:
            self._grants = list(_grants(self._store))
        names = {("User", user.name), *(("Group", group) for group in user.groups)}
        for grant in self._grants:
            if grant.namespace in ("", namespace) and not names.isdisjoint(grant.subjects):
                yield grant


def _grants(store: Store) -> Iterator[_Grant]:
    cluster_roles = {e.key[1]: e.decode() for e in store.list(_RESOURCES[1])}
    roles = {e.key: e.decode() for e in store.list(_RESOURCES[0])}
    for resource in _RESOURCES[2:]:
        for entry in store.list(resource):
            namespace, name = entry.key
            binding = entry.decode()
            reference = binding.get("roleRef") or {}
            if reference.get("kind") == "ClusterRole":
                role = cluster_roles.get(reference.get("name", ""))
            else:
                role = roles.get((namespace, reference.get("name", "")))
            if role is None:
                continue
            kind = "RoleBinding" if namespace else "ClusterRoleBinding"
            shown = f"{name}/{namespace}" if namespace else name
            yield _Grant(
                namespace,
                tuple(_subject(s, namespace) for s in binding.get("subjects") or ()),
                tuple(effective_rules(role, cluster_roles)),
                f'RBAC: allowed by {kind} "{shown}" of {reference["kind"]} "{reference["name"]}"',
            )


def effective_rules(role: Obj, cluster_roles: dict[str, Obj]) -> list[Obj]:
    """Returns a role's rules; of an aggregated one those of all roles that it selects."""
    chosen = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
    if not chosen:
        return list(role.get("rules") or ())
    parsed = [from_object(selector) for selector in chosen]
    rules: list[Obj] = []
    for name, other in sorted(cluster_roles.items()):
        labels = other["metadata"].get("labels") or {}
        if name != role["metadata"]["name"] and any(p.matches(labels) for p in parsed):
            inner = {k: v for k, v in cluster_roles.items() if k != role["metadata"]["name"]}
            rules += effective_rules(other, inner)
    return rules


def _subject(subject: Obj, namespace: str) -> tuple[str, str]:
    kind, name = subject.get("kind", ""), subject.get("name", "")
    if kind == "ServiceAccount":
        return "User", f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
    return kind, name


def covers(rule: Obj, act: Act) -> bool:
    """Whether one rule allows an act."""
    if not _has(rule.get("verbs"), act.verb):
        return False
    if not act.resource:
        return any(_path_matches(path, act.path) for path in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), act.group):
        return False
    if not _resource_matches(rule.get("resources") or (), act):
        return False
    names = rule.get("resourceNames")
    return not names or act.name in names


def _has(values: Any, wanted: str) -> bool:
    return wanted in (values or ()) or "*" in (values or ())


def _resource_matches(resources: Any, act: Act) -> bool:
    full = f"{act.resource}/{act.subresource}" if act.subresource else act.resource
    for resource in resources:
        if resource in ("*", full):
            return True
        if act.subresource and resource == f"*/{act.subresource}":
            return True
    return False


def _path_matches(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return pattern == path
