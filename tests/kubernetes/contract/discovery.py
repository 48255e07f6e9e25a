"""What both servers say they serve. The embedded one serves less: what it names must be the same."""

from __future__ import annotations

from typing import Any

from tests.kubernetes.contract.api import Api

_OF_RESOURCE = ("kind", "namespaced", "singularName", "shortNames", "verbs", "categories")


def resources(api: Api) -> dict[str, dict[str, Any]]:
    """Returns what discovery says, by `group/version` and by resource."""
    paths = {"v1": "/api/v1"}
    for group in api.send("GET", "/apis").json()["groups"]:
        for version in group["versions"]:
            paths[version["groupVersion"]] = f"/apis/{version['groupVersion']}"
    return {name: _resources(api, path) for name, path in paths.items()}


def _resources(api: Api, path: str) -> dict[str, Any]:
    found = api.send("GET", path).json()
    return {
        one["name"]: {key: _sorted(one.get(key)) for key in _OF_RESOURCE}
        for one in found["resources"]
    }


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def preferred(api: Api) -> dict[str, str]:
    """Returns the preferred version of each group."""
    groups = api.send("GET", "/apis").json()["groups"]
    return {one["name"]: one["preferredVersion"]["version"] for one in groups}
