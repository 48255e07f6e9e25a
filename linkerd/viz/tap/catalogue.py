"""What the tap API says of itself: discovery, paths, version, OpenAPI. Pure.

Source: linkerd2 viz/tap/api/handlers.go.
"""

from __future__ import annotations

from typing import Any

from linkerd import VERSION as RELEASE
from linkerd.viz.tap.request import GROUP, ROOT, VERSION

_RESOURCES = (
    "namespaces",
    "pods",
    "replicationcontrollers",
    "services",
    "daemonsets",
    "deployments",
    "replicasets",
    "statefulsets",
    "jobs",
    "cronjobs",
)

PATHS = (
    "/apis",
    f"/apis/{GROUP}",
    ROOT,
    "/healthz",
    "/healthz/log",
    "/healthz/ping",
    "/metrics",
    "/openapi/v2",
    "/version",
)

_GROUP_VERSION = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}


def answer(path: str) -> dict[str, Any] | None:
    """Returns the document at a path; None for an unknown one."""
    return _DOCUMENTS.get(path.rstrip("/") or "/")


def roots() -> dict[str, Any]:
    """Returns the list of paths, which also answers unknown ones."""
    return {"paths": list(PATHS)}


def _group() -> dict[str, Any]:
    return {"name": GROUP, "versions": [_GROUP_VERSION], "preferredVersion": _GROUP_VERSION}


def _resources() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "singularName": "",
            "namespaced": not name.startswith("namespaces"),
            "kind": "Tap",
            "verbs": ["watch"],
        }
        for plural in _RESOURCES
        for name in (plural, f"{plural}/tap")
    ]


def _openapi() -> dict[str, Any]:
    return {
        "swagger": "2.0",
        "info": {"title": "Tap", "version": VERSION},
        "paths": {
            f"/apis/{GROUP}": {},
            ROOT: {},
            f"{ROOT}/watch/namespaces/{{namespace}}/tap": {},
            f"{ROOT}/watch/namespaces/{{namespace}}/{{kind}}/{{name}}/tap": {},
        },
    }


_DOCUMENTS: dict[str, dict[str, Any]] = {
    "/": roots(),
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]},
    f"/apis/{GROUP}": {"kind": "APIGroup", "apiVersion": "v1", **_group()},
    ROOT: {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": _resources(),
    },
    "/openapi/v2": _openapi(),
    "/version": {"major": "1", "minor": "0", "gitVersion": RELEASE},
}
