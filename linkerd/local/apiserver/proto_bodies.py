r"""Bodies that clients send as Kubernetes protobuf → decoded JSON, driven by the table in `fields`.

    k8s\0 + Unknown{1: TypeMeta{1: apiVersion, 2: kind}, 2: raw message}

Answers stay JSON, which every client accepts.
Source: Kubernetes apimachinery/pkg/runtime/serializer/protobuf; protobuf wire format.
"""

from __future__ import annotations

import base64
import datetime
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from linkerd.local.apiserver.fields import JSON_ONLY, Field, message_of, messages
from linkerd.local.apiserver.status import bad_request
from linkerd.local.store import Obj

MAGIC = b"k8s\0"
_DEPTH_MAX = 32
_LENGTH_DELIMITED = 2

#: Kinds that every group serves as its own, decoded as those of the core or meta group.
_SHARED = ("DeleteOptions", "Status", "Scale", "Eviction")


class _Malformed(Exception):
    """The bytes are no protobuf message."""


def decode(body: bytes) -> Obj:
    """Returns the object that a body holds, with `kind` and `apiVersion`.

    Raises:
        ApiError: 400, the bytes are malformed or of a kind that is not in the table.
    """
    if not body.startswith(MAGIC):
        raise bad_request("the body is no Kubernetes protobuf: its first bytes are wrong")
    try:
        envelope = dict(_fields(body[len(MAGIC) :]))
        type_meta = dict(_fields(_bytes(envelope.get(1, b""))))
        api_version = _bytes(type_meta.get(1, b"")).decode()
        kind = _bytes(type_meta.get(2, b"")).decode()
        message = kind if kind in _SHARED else message_of(api_version, kind)
        if message is None or kind in JSON_ONLY:
            raise bad_request(f"{api_version} {kind} cannot be read as protobuf; send JSON")
        obj = _message(message, _bytes(envelope.get(2, b"")), 0)
    except (_Malformed, UnicodeDecodeError, struct.error) as error:
        raise bad_request(f"malformed protobuf body: {error}") from None
    return {"kind": kind, "apiVersion": api_version, **obj}


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise _Malformed("number where bytes belong")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yields number and value of each field of a message; fixed-width values as bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 1:
            length = 8
        elif wire == 5:
            length = 4
        elif wire == _LENGTH_DELIMITED:
            length, at = _varint(data, at)
        else:
            raise _Malformed(f"wire type {wire}")
        if at + length > len(data):
            raise _Malformed("cut short")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Malformed("bad number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _message(name: str, data: bytes, depth: int) -> Obj:
    if depth > _DEPTH_MAX:
        raise _Malformed("nested too deeply")
    known = messages()[name]
    obj: Obj = {}
    for number, raw in _fields(data):
        field = known.get(number)
        if field is None:
            continue
        if field.many == "%":
            key, value = _map_item(field, _bytes(raw), depth)
            obj.setdefault(field.name, {})[key] = value
        elif field.many == "*":
            obj.setdefault(field.name, []).append(_value(field.type, raw, depth))
        elif field.inline:
            obj.update(_value(field.type, raw, depth))
        else:
            value = _value(field.type, raw, depth)
            # Go writes fields that are no pointers even when they are empty.
            if field.optional or value not in ("", 0, None, {}):
                obj[field.name] = value
    return obj


def _map_item(field: Field, data: bytes, depth: int) -> tuple[str, Any]:
    item = dict(_fields(data))
    key = _bytes(item.get(1, b"")).decode()
    empty: int | bytes = 0 if field.type in ("b", "i") else b""
    return key, _value(field.type, item.get(2, empty), depth)


def _value(kind: str, raw: int | bytes, depth: int) -> Any:
    if kind == "i":
        if not isinstance(raw, int):
            raise _Malformed("bytes where a number belongs")
        return raw - (1 << 64) if raw >= 1 << 63 else raw
    if kind == "b":
        return bool(raw)
    data = _bytes(raw)
    match kind:
        case "":
            return data.decode()
        case "y":
            return base64.b64encode(data).decode()
        case "d":
            return struct.unpack("<d", data)[0]
        case "Time" | "MicroTime":
            return _time(data, micro=kind == "MicroTime")
        case "Quantity":
            return _bytes(dict(_fields(data)).get(1, b"")).decode()
        case "IntOrString":
            item = dict(_fields(data))
            if item.get(1):
                return _bytes(item.get(3, b"")).decode()
            return _value("i", item.get(2, 0), depth)
        case "ExtraValue":
            return [_bytes(value).decode() for _, value in _fields(data)]
        case "RawExtension" | "FieldsV1":
            return _raw(data)
    return _message(kind, data, depth + 1)


def _time(data: bytes, *, micro: bool) -> str | None:
    item = dict(_fields(data))
    seconds, nanoseconds = item.get(1, 0), item.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanoseconds, int):
        raise _Malformed("malformed time")
    seconds = _value("i", seconds, 0)
    if not data:
        return None
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _Malformed(f"time out of range: {error}") from None
    if micro:
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds // 1000:06d}Z"
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _raw(data: bytes) -> Any:
    text = _bytes(dict(_fields(data)).get(1, b""))
    try:
        return msgspec.json.decode(text) if text else {}
    except msgspec.DecodeError as error:
        raise _Malformed(f"JSON inside: {error}") from None
