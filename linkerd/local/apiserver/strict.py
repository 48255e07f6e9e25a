"""Fields and types of a body against its kind: unknown fields are refused or dropped with a warning.

Source: Kubernetes API concepts (field validation: Strict, Warn, Ignore).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

from linkerd.local.apiserver import schema
from linkerd.local.apiserver.fields import by_json_name, message_of
from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.resources import Context
from linkerd.local.apiserver.status import bad_request
from linkerd.local.store import Obj

#: Types whose JSON is whatever they say.
_OPEN = frozenset(("RawExtension", "FieldsV1"))
_TEXTS = frozenset(("Time", "MicroTime"))
_WANTED = {"": "string", "y": "string", "b": "bool", "i": "int", "d": "float64"}


_NEW_LINES = str.maketrans("", "", "\r\n")


class WrongType(Exception):
    """A field has another JSON type than its kind declares."""


def check(kind: Kind, obj: Obj, context: Context) -> None:
    """Acts on unknown fields as the client asked; they are dropped unless it is refused.

    Raises:
        ApiError: 400 for fields of a wrong type, and for unknown ones with Strict.
    """
    said = f"{kind.kind} in version {kind.version!r} cannot be handled as a {kind.kind}: ".replace(
        "'", '"'
    )
    try:
        found = list(_unknown(kind, obj))
    except WrongType as error:
        raise bad_request(f"{said}json: cannot unmarshal {error}") from None
    if kind.resource == "secrets" and not _is_base64((obj.get("data") or {}).values()):
        raise bad_request(f"{said}illegal base64 data")
    if not found or context.validation == "Ignore":
        return
    texts = [f'unknown field "{path}"' for path in found]
    if context.validation == "Strict":
        raise bad_request(f"{said}strict decoding error: {', '.join(texts)}")
    for text in texts:
        context.warn(text)


def _is_base64(values: Iterable[Any]) -> bool:
    try:
        for value in values:
            base64.b64decode((value or "").translate(_NEW_LINES), validate=True)
    except ValueError:
        return False
    return True


def check_types(api_version: str, kind: str, obj: Any) -> Obj:
    """Returns a body that is no stored object, checked for types; unknown fields are dropped.

    Raises:
        ApiError: 400, a field has a wrong type or the body is no object.
    """
    message = message_of(api_version, kind)
    if message is None or not isinstance(obj, dict):
        raise bad_request(f"the request body is no {kind}")
    try:
        for _ in _walk(message, obj, "", top=True):
            pass
    except WrongType as error:
        raise bad_request(f"json: cannot unmarshal {error}") from None
    return obj


def _unknown(kind: Kind, obj: Obj) -> Iterator[str]:
    if kind.crd is not None:
        yield from _walk("ObjectMeta", obj["metadata"], "metadata")
        yield from schema.unknown_fields(kind, obj)
        return
    message = message_of(kind.api_version, kind.kind)
    if message is not None:
        yield from _walk(message, obj, "", top=True)


def _walk(message: str, obj: Obj, path: str, *, top: bool = False) -> Iterator[str]:
    known = by_json_name(message)
    for key in list(obj):
        inner = f"{path}.{key}" if path else key
        field = known.get(key)
        if field is None:
            if not (top and key in ("kind", "apiVersion")) and not key.startswith("$"):
                del obj[key]
                yield inner
            continue
        value = obj[key]
        if value is None:
            continue
        if field.many == "*":
            if not isinstance(value, list):
                raise WrongType(
                    f"{_shown(value)} into Go struct field {message}.{inner} of type []"
                )
            for index, item in enumerate(value):
                if item is None:
                    raise WrongType(f"null into Go struct field {message}.{inner}[{index}]")
                yield from _one(field.type, value, index, item, f"{inner}[{index}]", message)
        elif field.many == "%":
            if not isinstance(value, dict):
                raise WrongType(
                    f"{_shown(value)} into Go struct field {message}.{inner} of type map"
                )
            for name, item in value.items():
                yield from _one(field.type, value, name, item, f"{inner}.{name}", message)
        else:
            yield from _one(field.type, obj, key, value, inner, message)


def _one(kind: str, holder: Any, key: Any, value: Any, path: str, message: str) -> Iterator[str]:
    if value is None or kind in _OPEN:
        return
    if kind == "Quantity":
        if isinstance(value, int | float) and not isinstance(value, bool):
            holder[key] = str(value)
        return
    if kind == "JSONSchema":
        if not isinstance(value, dict):
            raise WrongType(f"{_shown(value)} into Go struct field {message}.{path} of type {kind}")
        return
    if kind in _TEXTS:
        kind = ""
    if kind in _WANTED or kind == "IntOrString":
        if not _fits(kind, value):
            wanted = _WANTED.get(kind, "intstr.IntOrString")
            raise WrongType(
                f"{_shown(value)} into Go struct field {message}.{path} of type {wanted}"
            )
        return
    if kind == "ExtraValue":
        return
    if not isinstance(value, dict):
        raise WrongType(f"{_shown(value)} into Go struct field {message}.{path} of type {kind}")
    yield from _walk(kind, value, path)


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "" | "y":
            return isinstance(value, str)
        case "b":
            return isinstance(value, bool)
        case "i":
            return isinstance(value, int) and not isinstance(value, bool)
        case "d":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, int | str) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
    return "object"
