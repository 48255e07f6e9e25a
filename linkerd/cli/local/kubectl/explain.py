"""Show the fields of a kind, from the schema that the cluster serves.

Examples:
  linkerd local kubectl explain deploy.spec.strategy
  linkerd local kubectl explain servers.policy.linkerd.io --recursive
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient
    from linkerd.kube.resources import Resource

SUMMARY = "Show the fields of a kind"
USAGE = "TYPE[.FIELD...]"
_DEPTH_MAX = 12
_WIDTH = 78

Schema = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("type", metavar="TYPE.FIELD", help="for instance deploy.spec.template")
    parser.add_argument("--recursive", action="store_true", help="fields of fields too")
    parser.add_argument("--api-version", default="", metavar="VERSION", help="for instance apps/v1")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Prints kind, description and fields."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster

    resource, fields, schemas = _connect.run(_cluster.config(args), lambda kube: _read(kube, args))
    print(text(resource, fields, schemas, recursive=args.recursive), end="")
    return 0


async def _read(
    kube: KubeClient, args: argparse.Namespace
) -> tuple[Resource, list[str], dict[str, Schema]]:
    from linkerd.cli.local import _kinds
    from linkerd.kube.resources import root

    words = args.type.split(".")
    resource = None
    for end in range(len(words), 0, -1):  # `servers.policy.linkerd.io.spec`: a group has dots too
        try:
            resource = await _kinds.resolve(kube, ".".join(words[:end]))
        except UsageError:
            continue
        break
    if resource is None:
        raise UsageError(f"couldn't find resource for {args.type!r}")
    version = args.api_version or resource.api_version
    document = await kube.request("GET", f"/openapi/v3{root(version)}")
    return resource, words[end:], document["components"]["schemas"]


def text(
    resource: Resource, fields: list[str], schemas: dict[str, Schema], *, recursive: bool
) -> str:
    """Returns what is printed about a kind, or about one of its fields.

    Args:
        resource: The kind.
        fields: Names that lead from the kind to the field; empty for the kind itself.
        schemas: Of its group and version, by name.
        recursive: Whether fields of fields are listed instead of descriptions.

    Raises:
        UsageError: the kind has no such field.
    """
    here = _schema_of(resource, schemas)
    lines = [f"GROUP:      {resource.group}"] if resource.group else []
    lines += [f"KIND:       {resource.kind}", f"VERSION:    {resource.version}", ""]
    for at, name in enumerate(fields):
        within = _inner(here, schemas)
        properties = within.get("properties") or {}
        if name not in properties:
            raise UsageError(f'field "{name}" does not exist')
        here = properties[name]
        if at == len(fields) - 1:
            lines += [f"FIELD: {name} {_typed(name, within)}", ""]
    inner = _inner(here, schemas)
    lines += ["DESCRIPTION:", _description(here, inner, "    ")]
    if inner.get("properties"):
        lines += ["FIELDS:", *_fields(inner, schemas, recursive, 1)]
    return "\n".join(lines).rstrip("\n") + "\n\n"


def _schema_of(resource: Resource, schemas: dict[str, Schema]) -> Schema:
    for schema in schemas.values():
        for one in schema.get("x-kubernetes-group-version-kind") or ():
            if (one["group"], one["kind"]) == (resource.group, resource.kind):
                return schema
    raise UsageError(f"the cluster knows no fields of {resource.kind}")


def _fields(
    schema: Schema, schemas: dict[str, Schema], recursive: bool, depth: int
) -> Iterator[str]:
    indent = "  " * depth
    for name, field in sorted((schema.get("properties") or {}).items()):
        yield f"{indent}{name}\t{_typed(name, schema)}"
        inner = _inner(field, schemas)
        if not recursive:
            yield _description(field, inner, indent + "  ")
        elif depth < _DEPTH_MAX:
            yield from _fields(inner, schemas, recursive, depth + 1)


def _description(field: Schema, inner: Schema, indent: str) -> str:
    words = field.get("description") or inner.get("description") or "<empty>"
    lines = (
        textwrap.fill(line, _WIDTH, initial_indent=indent, subsequent_indent=indent)
        for line in words.strip().splitlines()
    )
    return "\n".join(lines) + "\n"


def _reference(schema: Schema) -> str:
    """Where the schema refers to; empty when it is one itself."""
    return next(
        (one["$ref"] for one in (schema, *(schema.get("allOf") or ())) if "$ref" in one), ""
    )


def _resolved(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    while found := _reference(schema):
        schema = schemas.get(found.rpartition("/")[2], {})
    return schema


def _inner(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """The object behind references, lists and maps."""
    schema = _resolved(schema, schemas)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            return _inner(schema[key], schemas)
    return schema


def _typed(name: str, within: Schema) -> str:
    """The type of a field of `within`, and whether it must be there."""
    needed = " -required-" if name in (within.get("required") or ()) else ""
    return f"<{_type(within['properties'][name])}>{needed}"


def _type(schema: Schema) -> str:
    if reference := _reference(schema):
        return reference.rpartition(".")[2]
    if isinstance(schema.get("items"), dict):
        return f"[]{_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map[string]{_type(schema['additionalProperties'])}"
    return {"object": "Object"}.get(found := str(schema.get("type") or "Object"), found)
