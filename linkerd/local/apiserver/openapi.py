"""OpenAPI: which kinds can be patched with `fieldValidation`, and their fields for `explain`.

Source: kubectl pkg/util/openapi; Kubernetes apiserver pkg/server/routes/openapi.go (paths),
gnostic OpenAPIv2.proto (numbers of the v2 document).
"""

from __future__ import annotations

from linkerd.local.apiserver.fields import Field, by_json_name, message_of
from linkerd.local.apiserver.kinds import Kind, Kinds
from linkerd.local.apiserver.status import no_such_path
from linkerd.local.store import Obj

V2_CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

_QUERY = ("dryRun", "fieldManager", "fieldValidation", "force", "pretty")
_SCALARS: dict[str, Obj] = {
    "": {"type": "string"},
    "y": {"type": "string", "format": "byte"},
    "b": {"type": "boolean"},
    "i": {"type": "integer"},
    "d": {"type": "number"},
    "Time": {"type": "string", "format": "date-time"},
    "MicroTime": {"type": "string", "format": "date-time"},
    "Quantity": {"type": "string"},
    "IntOrString": {"type": "string", "format": "int-or-string"},
    "RawExtension": {"type": "object"},
    "FieldsV1": {"type": "object"},
    "JSONSchema": {"type": "object"},
    "ExtraValue": {"type": "array", "items": {"type": "string"}},
}


def v2_document() -> bytes:
    """Returns an OpenAPI v2 document without paths, as protobuf: the only form clients ask for.

    kubectl looks here for kinds that v3 does not name; without an answer it blames the server
    instead of the kind.
    """

    def text(number: int, value: bytes) -> bytes:
        return bytes((number << 3 | 2, len(value))) + value

    info = text(1, b"Kubernetes") + text(2, b"v1.36.0")
    return text(1, b"2.0") + text(2, info) + text(8, b"")


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
    schemas: dict[str, Obj] = {}
    for kind in served:
        _add_kind(schemas, kind)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": {_object_path(kind): _operations(kind) for kind in served},
        "components": {"schemas": schemas},
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


def _add_kind(schemas: dict[str, Obj], kind: Kind) -> None:
    schema: Obj = {"type": "object"}
    message = message_of(kind.api_version, kind.kind)
    if kind.crd is not None:
        schema |= (kind.crd.get("schema") or {}).get("openAPIV3Schema") or {}
        properties = dict(schema.get("properties") or {})
        properties["metadata"] = _reference(schemas, "ObjectMeta")
        schema["properties"] = {**_type_meta(), **properties}
    elif message is not None:
        schema["properties"] = {**_type_meta(), **_properties(schemas, message)}
    schema["x-kubernetes-group-version-kind"] = [_gvk(kind)]
    schemas[_schema_name(kind)] = schema


def _type_meta() -> Obj:
    return {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}


def _properties(schemas: dict[str, Obj], message: str) -> Obj:
    return {name: _property(schemas, field) for name, field in by_json_name(message).items()}


def _property(schemas: dict[str, Obj], field: Field) -> Obj:
    scalar = _SCALARS.get(field.type)
    one = scalar if scalar is not None else _reference(schemas, field.type)
    if field.many == "*":
        return {"type": "array", "items": one}
    if field.many == "%":
        return {"type": "object", "additionalProperties": one}
    return one


def _reference(schemas: dict[str, Obj], message: str) -> Obj:
    name = f"io.k8s.{message}"
    if name not in schemas:
        schemas[name] = {"type": "object"}
        schemas[name]["properties"] = _properties(schemas, message)
    return {"allOf": [{"$ref": f"#/components/schemas/{name}"}]}
