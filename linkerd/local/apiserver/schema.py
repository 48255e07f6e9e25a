"""Structural schemas of custom kinds: pruning, defaulting and validation.

Understands OpenAPI v3 as CustomResourceDefinitions use it, without CEL rules
(`x-kubernetes-validations` are not evaluated).
Source: Kubernetes apiextensions-apiserver pkg/apiserver/schema (pruning, defaulting),
pkg/apiserver/validation.
"""

from __future__ import annotations

import copy
import datetime
import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any

from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.status import bad_value, cause, required, unsupported
from linkerd.local.store import Obj

_OBJECT_FIELDS = ("apiVersion", "kind", "metadata")


def of(kind: Kind) -> Obj:
    """Returns the schema of a custom kind's version; empty when it has none."""
    found: Obj = (kind.crd.get("schema") or {}).get("openAPIV3Schema") or {}
    return found


#: Keyword → the Python types that its value may have.
_KEYWORDS: dict[str, tuple[type, ...]] = {
    "type": (str,),
    "format": (str,),
    "pattern": (str,),
    "properties": (dict,),
    "items": (dict,),
    "additionalProperties": (dict, bool),
    "required": (list,),
    "enum": (list,),
    "nullable": (bool,),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), (int, float)),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), (bool,)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), (int,)),
    **dict.fromkeys(("minProperties", "maxProperties"), (int,)),
    **dict.fromkeys(("allOf", "anyOf", "oneOf"), (list,)),
    "not": (dict,),
    "x-kubernetes-list-type": (str,),
    "x-kubernetes-list-map-keys": (list,),
    "x-kubernetes-preserve-unknown-fields": (bool,),
    "x-kubernetes-int-or-string": (bool,),
    "x-kubernetes-embedded-resource": (bool,),
}
_DEPTH_MAX = 64


def malformed(schema: Any, path: str, depth: int = 0) -> Iterator[str]:
    """Yields the paths at which a schema is none: keywords with values of a wrong type."""
    if not isinstance(schema, dict) or depth > _DEPTH_MAX:
        yield path
        return
    for key, value in schema.items():
        wanted = _KEYWORDS.get(key)
        wrong = wanted and (
            not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)
        )
        if wrong:
            yield f"{path}.{key}"
            continue
        if key in ("items", "not") or (
            key == "additionalProperties" and value is not True and value is not False
        ):
            yield from malformed(value, f"{path}.{key}", depth + 1)
        elif key == "properties":
            for name, inner in value.items():
                yield from malformed(inner, f"{path}.properties[{name}]", depth + 1)
        elif key in ("allOf", "anyOf", "oneOf"):
            for index, inner in enumerate(value):
                yield from malformed(inner, f"{path}.{key}[{index}]", depth + 1)
        elif key in ("required", "x-kubernetes-list-map-keys"):
            yield from (f"{path}.{key}" for name in value if not isinstance(name, str))


def prune(kind: Kind, obj: Obj) -> list[str]:
    """Removes what the schema does not name, in place; returns the paths that were removed."""
    return list(_prune(of(kind), obj, "", True))


def unknown_fields(kind: Kind, obj: Obj) -> list[str]:
    """Returns the paths that `prune` would remove."""
    return prune(kind, copy.deepcopy(obj))


def _prune(schema: Obj, value: Any, path: str, whole_object: bool) -> Iterator[str]:
    if schema.get("x-kubernetes-embedded-resource"):
        whole_object = True
    if isinstance(value, list):
        items = schema.get("items") or {}
        for index, item in enumerate(value):
            yield from _prune(items, item, f"{path}[{index}]", False)
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    keep = schema.get("x-kubernetes-preserve-unknown-fields") is True
    for key in list(value):
        inner = f"{path}.{key}" if path else key
        if whole_object and key in _OBJECT_FIELDS:
            continue
        if key in properties:
            yield from _prune(properties[key], value[key], inner, False)
        elif isinstance(additional, dict):
            yield from _prune(additional, value[key], inner, False)
        elif not keep and additional is not True:
            del value[key]
            yield inner


def fill(kind: Kind, obj: Obj) -> None:
    """Sets the schema's defaults where the object is silent, in place."""
    _fill(of(kind), obj)


def _fill(schema: Obj, value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _fill(schema.get("items") or {}, item)
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    for key, inner in properties.items():
        if "default" in inner and (
            key not in value or (value[key] is None and not inner.get("nullable"))
        ):
            value[key] = copy.deepcopy(inner["default"])
        if key in value:
            _fill(inner, value[key])
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        for key in value.keys() - properties.keys():
            _fill(additional, value[key])


def findings(kind: Kind, obj: Obj) -> list[Obj]:
    """Returns what the schema refuses in an object; empty when it is valid."""
    return list(_check(of(kind), obj, "", True))


def _check(schema: Obj, value: Any, path: str, root: bool = False) -> Iterator[Obj]:
    if value is None:
        if schema.get("nullable") or root:
            return
        wanted = schema.get("type")
        if wanted:
            yield _wrong_type(path, "null", wanted)
        return
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield _wrong_type(path, _type_name(value), "integer,string")
            return
    elif "type" in schema and not _is(value, schema["type"]):
        yield _wrong_type(path, _type_name(value), schema["type"])
        return
    if "enum" in schema and value not in schema["enum"]:
        yield unsupported(path or "<nil>", value, [str(v) for v in schema["enum"]])
    if isinstance(value, str):
        yield from _check_text(schema, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _check_number(schema, value, path)
    elif isinstance(value, list):
        yield from _check_list(schema, value, path)
    elif isinstance(value, dict):
        yield from _check_map(schema, value, path, root)
    yield from _check_junctors(schema, value, path)


def _check_text(schema: Obj, value: str, path: str) -> Iterator[Obj]:
    if len(value) > schema.get("maxLength", len(value)):
        yield cause(
            "FieldValueTooLong", path, f"Too long: may not be more than {schema['maxLength']} bytes"
        )
    if len(value) < schema.get("minLength", 0):
        yield bad_value(
            path, value, f"{path} in body should be at least {schema['minLength']} chars long"
        )
    pattern = schema.get("pattern")
    if pattern and not _search(pattern, value):
        yield bad_value(path, value, f"{path} in body should match '{pattern}'")
    form = schema.get("format")
    if form in _FORMATS and not _FORMATS[form](value):
        yield bad_value(path, value, f"{path} in body must be of type {form}: {value!r}")


def _search(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern.replace(r"\z", r"\Z"), value) is not None
    except re.error:
        # Go's syntax has a few forms that Python's lacks; such a rule is not checked.
        return True


def _check_number(schema: Obj, value: float, path: str) -> Iterator[Obj]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        yield bad_value(path, value, f"{path} in body should be greater than or equal to {low}")
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        yield bad_value(path, value, f"{path} in body should be less than or equal to {high}")
    step = schema.get("multipleOf")
    if step and value % step:
        yield bad_value(path, value, f"{path} in body should be a multiple of {step}")


def _check_list(schema: Obj, value: list[Any], path: str) -> Iterator[Obj]:
    if len(value) > schema.get("maxItems", len(value)):
        yield cause(
            "FieldValueTooMany",
            path,
            f"Too many: {len(value)}: must have at most {schema['maxItems']} items",
        )
    if len(value) < schema.get("minItems", 0):
        yield bad_value(
            path, len(value), f"{path} in body should have at least {schema['minItems']} items"
        )
    items = schema.get("items") or {}
    for index, item in enumerate(value):
        yield from _check(items, item, f"{path}[{index}]")
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    if schema.get("x-kubernetes-list-type") in ("map", "set"):
        seen = []
        for index, item in enumerate(value):
            name = {k: item.get(k) for k in keys} if keys and isinstance(item, dict) else item
            if name in seen:
                yield cause("FieldValueDuplicate", f"{path}[{index}]", f"Duplicate value: {name}")
            seen.append(name)


def _check_map(schema: Obj, value: Obj, path: str, root: bool) -> Iterator[Obj]:
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    for name in schema.get("required") or ():
        if name not in value:
            yield required(f"{path}.{name}" if path else name)
    if len(value) > schema.get("maxProperties", len(value)):
        yield cause(
            "FieldValueTooMany",
            path,
            f"Too many: {len(value)}: must have at most {schema['maxProperties']} items",
        )
    if len(value) < schema.get("minProperties", 0):
        yield bad_value(
            path,
            len(value),
            f"{path} in body should have at least {schema['minProperties']} properties",
        )
    for key, item in value.items():
        if root and key in _OBJECT_FIELDS:
            continue
        inner = f"{path}.{key}" if path else key
        if key in properties:
            yield from _check(properties[key], item, inner)
        elif isinstance(additional, dict):
            yield from _check(additional, item, inner)


def _check_junctors(schema: Obj, value: Any, path: str) -> Iterator[Obj]:
    for part in schema.get("allOf") or ():
        yield from _check(part, value, path)
    choices = schema.get("anyOf")
    if choices and not any(_valid(part, value) for part in choices):
        yield bad_value(path, "", f"{path} in body must validate at least one schema (anyOf)")
    one = schema.get("oneOf")
    if one and sum(_valid(part, value) for part in one) != 1:
        yield bad_value(path, "", f"{path} in body must validate one and only one schema (oneOf)")
    if "not" in schema and _valid(schema["not"], value):
        yield bad_value(path, "", f"{path} in body must not validate the schema (not)")


def _valid(schema: Obj, value: Any) -> bool:
    return next(_check(schema, value, ""), None) is None


def _is(value: Any, wanted: str) -> bool:
    match wanted:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return not isinstance(value, bool) and (
                isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            )
        case "number":
            return not isinstance(value, bool) and isinstance(value, int | float)
    return True


def _type_name(value: Any) -> str:
    for name in ("object", "array", "string", "boolean", "integer", "number"):
        if _is(value, name):
            return name
    return "null"


def _wrong_type(path: str, found: str, wanted: str) -> Obj:
    return cause(
        "FieldValueTypeInvalid",
        path,
        f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"',
    )


def _date_time(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return "T" in text or "t" in text


def _address(version: int, text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


_FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _date_time,
    "ipv4": lambda text: _address(4, text),
    "ipv6": lambda text: _address(6, text),
    "cidr": _network,
    "uuid": lambda text: (
        re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) is not None
    ),
}
