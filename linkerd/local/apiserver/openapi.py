"""OpenAPI v3, as much as kubectl needs: which kinds can be patched with `fieldValidation`.

Source: kubectl pkg/util/openapi; Kubernetes apiserver pkg/server/routes/openapi.go (paths).
"""

from __future__ import annotations

from linkerd.local.apiserver.kinds import Kind, Kinds
from linkerd.local.apiserver.status import no_such_path
from linkerd.local.store import Obj

_QUERY = ("dryRun", "fieldManager", "fieldValidation", "force", "pretty")


def index(kinds: Kinds) -> Obj:
    """Returns the answer to `/openapi/v3`: one document per group and version."""
    paths = {}
    for kind in kinds:
        path = _path(kind)
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}"}
    return {"paths": dict(sorted(paths.items()))}


def _path(kind: Kind) -> str:
    return f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"


def group_document(kinds: Kinds, parts: list[str]) -> Obj:
    """Returns the document of one group and version.

    Raises:
        ApiError: 404, there is no such group or version.
    """
    match parts:
        case ["api", version]:
            served = kinds.of("", version)
        case ["apis", group, version]:
            served = kinds.of(group, version)
        case _:
            served = []
    if not served:
        raise no_such_path()
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": {_object_path(kind): _operations(kind) for kind in served},
        "components": {"schemas": dict(_schema(kind) for kind in served)},
    }


def _object_path(kind: Kind) -> str:
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    return f"/{_path(kind)}{scope}/{kind.plural}/{{name}}"


def _gvk(kind: Kind) -> Obj:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _operations(kind: Kind) -> Obj:
    schema = {"$ref": f"#/components/schemas/{_schema_name(kind)}"}
    content = {"application/json": {"schema": schema}}
    operation: Obj = {
        "x-kubernetes-group-version-kind": _gvk(kind),
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string"}} for name in _QUERY
        ],
        "responses": {"200": {"description": "OK", "content": content}},
    }
    get = {**operation, "x-kubernetes-action": "get", "parameters": []}
    return {"get": get, "patch": {**operation, "x-kubernetes-action": "patch"}}


def _schema_name(kind: Kind) -> str:
    domain = ".".join(reversed((kind.group or "core").split(".")))
    return f"{domain}.{kind.version}.{kind.kind}"


def _schema(kind: Kind) -> tuple[str, Obj]:
    declared: Obj = {}
    if kind.crd is not None:
        declared = (kind.crd.get("schema") or {}).get("openAPIV3Schema") or {}
    schema: Obj = {
        "type": "object",
        **declared,
        "x-kubernetes-group-version-kind": [_gvk(kind)],
    }
    return _schema_name(kind), schema
