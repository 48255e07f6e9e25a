"""Answers to "what do you serve?": legacy and aggregated discovery, and the server's version.

Source: Kubernetes apiserver pkg/endpoints/discovery (legacy), pkg/endpoints/discovery/aggregated.
"""

from __future__ import annotations

import platform
import re
from typing import Any

from linkerd.local.apiserver.kinds import Kind, Kinds
from linkerd.local.store import Obj

#: What kubectl and Helm take for the cluster's version.
GIT_VERSION = "v1.36.0-local"

_SUBRESOURCE_KIND = {
    "scale": ("autoscaling", "v1", "Scale", ("get", "patch", "update")),
    "status": ("", "", "", ("get", "patch", "update")),
    "log": ("", "v1", "Pod", ("get",)),
    "exec": ("", "v1", "PodExecOptions", ("create", "get")),
    "attach": ("", "v1", "PodAttachOptions", ("create", "get")),
    "portforward": ("", "v1", "PodPortForwardOptions", ("create", "get")),
    "proxy": ("", "v1", "ServiceProxyOptions", ("create", "delete", "get", "patch", "update")),
    "eviction": ("policy", "v1", "Eviction", ("create",)),
    "binding": ("", "v1", "Binding", ("create",)),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ("create",)),
    "finalize": ("", "", "", ("update",)),
    "ephemeralcontainers": ("", "v1", "Pod", ("get", "patch", "update")),
    "resize": ("", "v1", "Pod", ("get", "patch", "update")),
}


def version() -> Obj:
    """Returns the answer to `/version`."""
    found = re.match(r"v(\d+)\.(\d+)", GIT_VERSION)
    assert found
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": found[1],
        "minor": found[2],
        "gitVersion": GIT_VERSION,
        "gitCommit": "0" * 40,
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "go1.26",
        "compiler": "none",
        "platform": f"linux/{machine}",
    }


def aggregated_version(accept: str) -> str | None:
    """Returns `v2` or `v2beta1` when the client asks for aggregated discovery, else None.

    The first wanted form counts.
    """
    for part in accept.split(","):
        parameters = dict(p.strip().partition("=")[::2] for p in part.split(";")[1:] if "=" in p)
        if parameters.get("g") == "apidiscovery.k8s.io" and parameters.get("v") in (
            "v2",
            "v2beta1",
        ):
            return parameters["v"]
    return None


def aggregated_content_type(version: str) -> str:
    """Returns the content type of an aggregated answer."""
    return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def aggregated(
    kinds: Kinds, version: str, core: bool, remote: dict[tuple[str, str], list[Obj] | None]
) -> Obj:
    """Returns an APIGroupDiscoveryList of the core group or of all others.

    Args:
        kinds: What is served here.
        version: Of the list itself.
        core: True for `/api`, False for `/apis`.
        remote: Group and version → APIResourceList's resources of aggregated APIs; None when
            that API is out of reach.
    """
    groups = [""] if core else sorted({*kinds.groups(), *(group for group, _ in remote)})
    items = []
    for group in groups:
        versions = [
            {
                "version": v,
                "resources": [_aggregated_resource(kind) for kind in kinds.of(group, v)],
                "freshness": "Current",
            }
            for v in kinds.versions(group)
        ]
        versions += [
            {
                "version": v,
                "resources": _from_legacy(group, v, resources or []),
                "freshness": "Current" if resources is not None else "Stale",
            }
            for (g, v), resources in remote.items()
            if g == group and not core
        ]
        item: Obj = {"metadata": {"creationTimestamp": None}, "versions": versions}
        if group:
            item["metadata"]["name"] = group
        items.append(item)
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_resource(kind: Kind) -> Obj:
    resource: Obj = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short:
        resource["shortNames"] = list(kind.short)
    if kind.categories:
        resource["categories"] = list(kind.categories)
    if kind.subresources:
        resource["subresources"] = [
            {
                "subresource": name,
                "responseKind": dict(
                    zip(("group", "version", "kind"), _sub_gvk(kind, name), strict=True)
                ),
                "verbs": list(_sub_verbs(name)),
            }
            for name in kind.subresources
        ]
    return resource


def _sub_gvk(kind: Kind, name: str) -> tuple[str, str, str]:
    group, version, answer, _ = _SUBRESOURCE_KIND.get(name, ("", "", "", ()))
    return (group, version, answer) if answer else (kind.group, kind.version, kind.kind)


def _sub_verbs(name: str) -> tuple[str, ...]:
    found = _SUBRESOURCE_KIND.get(name)
    return found[3] if found else ("get",)


def _from_legacy(group: str, version: str, resources: list[Obj]) -> list[Obj]:
    found: dict[str, Obj] = {}
    for resource in resources:
        name, _, sub = resource["name"].partition("/")
        kind = {
            "group": resource.get("group") or group,
            "version": resource.get("version") or version,
            "kind": resource["kind"],
        }
        if not sub:
            found[name] = {
                "resource": name,
                "responseKind": kind,
                "scope": "Namespaced" if resource.get("namespaced") else "Cluster",
                "singularResource": resource.get("singularName", ""),
                "verbs": resource.get("verbs", []),
            }
        elif name in found:
            found[name].setdefault("subresources", []).append(
                {"subresource": sub, "responseKind": kind, "verbs": resource.get("verbs", [])}
            )
    return list(found.values())


def core_versions(address: str) -> Obj:
    """Returns the answer to `/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(kinds: Kinds, remote: list[tuple[str, str]]) -> Obj:
    """Returns the answer to `/apis`; `remote` are group and version of aggregated APIs."""
    names = sorted({*kinds.groups(), *(group for group, _ in remote)})
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(kinds, name, remote) for name in names],
    }


def group(kinds: Kinds, name: str, remote: list[tuple[str, str]]) -> Obj | None:
    """Returns the answer to `/apis/<group>`, None for unknown groups."""
    found = _group(kinds, name, remote)
    return {"kind": "APIGroup", "apiVersion": "v1", **found} if found["versions"] else None


def _group(kinds: Kinds, name: str, remote: list[tuple[str, str]]) -> Obj:
    names = kinds.versions(name) + [v for g, v in remote if g == name]
    versions = [{"groupVersion": f"{name}/{v}", "version": v} for v in names]
    answer: Obj = {"name": name, "versions": versions}
    if versions:
        answer["preferredVersion"] = versions[0]
    return answer


def resource_list(kinds: Kinds, group: str, version: str) -> Obj | None:
    """Returns the answer to `/api/v1` or `/apis/<group>/<version>`, None for unknown ones."""
    served = kinds.of(group, version)
    if not served:
        return None
    resources: list[dict[str, Any]] = []
    for kind in served:
        entry: dict[str, Any] = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": list(kind.verbs),
        }
        if kind.short:
            entry["shortNames"] = list(kind.short)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        resources.append(entry)
        for name in kind.subresources:
            sub_group, sub_version, sub_kind = _sub_gvk(kind, name)
            sub: dict[str, Any] = {
                "name": f"{kind.plural}/{name}",
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": sub_kind,
                "verbs": list(_sub_verbs(name)),
            }
            if (sub_group, sub_version) != (kind.group, kind.version):
                sub["group"], sub["version"] = sub_group, sub_version
            resources.append(sub)
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": resources,
    }
