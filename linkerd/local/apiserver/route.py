"""What a request asks for: method and path → verb, kind's address, object, subresource.

Source: Kubernetes apiserver pkg/endpoints/request/requestinfo.go.
"""

from __future__ import annotations

from dataclasses import dataclass

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class Route:
    """One request's target; `resource` is "" for paths that are no resources."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""

    @property
    def is_resource(self) -> bool:
        """Whether the path names objects of some kind."""
        return bool(self.resource)


def parse(method: str, path: str, watch: bool = False) -> Route:
    """Returns what a request asks for.

    Args:
        method: HTTP method.
        path: Decoded path.
        watch: Whether the query says `watch=true`.
    """
    parts = [part for part in path.split("/") if part]
    verb = _VERBS.get(method, method.lower())
    if parts[:1] == ["api"] and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return Route(method.lower() if method != "HEAD" else "get", path)
    legacy_watch = rest[0] == "watch" and len(rest) > 1
    if legacy_watch:
        verb, rest = "watch", rest[1:]
    namespace = ""
    if (
        rest[0] == "namespaces"
        and len(rest) > 2
        and not (not group and rest[2] in _NAMESPACE_SUBRESOURCES and len(rest) == 3)
    ):
        namespace, rest = rest[1], rest[2:]
    elif rest[0] == "namespaces" and not group and len(rest) > 1:
        namespace = rest[1]
    resource, name = rest[0], rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if legacy_watch:
        pass
    elif not name:
        verb = {"get": "watch" if watch else "list", "delete": "deletecollection"}.get(verb, verb)
    elif watch and verb == "get" and not subresource:
        verb = "watch"
    return Route(
        verb, path, group, version, namespace, resource, name, subresource, "/".join(rest[3:])
    )
