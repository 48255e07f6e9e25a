"""`-meshed-http2-client-params`: JSON with Go's field names → an encoded Http2ClientParams."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.message import Message

from linkerd.errors import SettingsError
from linkerd.gen import destination_pb2 as pb


def http2_client_params(text: str) -> bytes:
    """Returns the encoded message, empty for an empty text.

    Field names are the proto's; durations are written as Go's structs, `{"seconds": 10}`.

    Raises:
        SettingsError: `text` is no such JSON.
    Source: linkerd2 controller/cmd/destination/main.go (flag), Go encoding/json of the struct.
    """
    if not text.strip():
        return b""
    message = pb.Http2ClientParams()
    try:
        _fill(message, json.loads(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError(f"meshed-http2-client-params {text!r}: {error}") from None
    return message.SerializeToString()


def _fill(message: Message, document: dict[str, Any]) -> None:
    for name, value in document.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            raise ValueError(f"{message.DESCRIPTOR.name} has no field {name!r}")
        if field.message_type is None:
            setattr(message, name, value)
        else:
            inner = getattr(message, name)
            inner.SetInParent()
            _fill(inner, value)
