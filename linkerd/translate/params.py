"""`-meshed-http2-client-params`: JSON with Go's field names → an encoded Http2ClientParams."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError

from linkerd.errors import SettingsError
from linkerd.gen import destination_pb2 as pb


def http2_client_params(text: str) -> bytes:
    """Returns the encoded message, empty for an empty text.

    Durations are written as Go's structs, `{"seconds": 10}`.

    Raises:
        SettingsError: `text` is no such JSON.
    Source: linkerd2 controller/cmd/destination/main.go (flag), charts values `meshedHttp2ClientProtobuf`.
    """
    if not text.strip():
        return b""
    try:
        document = _plain(json.loads(text))
        return ParseDict(document, pb.Http2ClientParams()).SerializeToString()
    except (ValueError, ParseError) as error:
        raise SettingsError(f"meshed-http2-client-params {text!r}: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value and set(value) <= {"seconds", "nanos"}:
            return f"{value.get('seconds', 0)}.{value.get('nanos', 0):09d}s"
        return {key: _plain(entry) for key, entry in value.items()}
    return value
