"""Messages on the tap API's stream: four bytes of length, little endian, and the message. Pure.

Source: linkerd2 pkg/protohttp/protohttp.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from linkerd.errors import WireError

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Longer messages are refused: no event is nearly as long."""

ERROR_HEADER = "linkerd-error"
"""Header of an answer that holds one `ApiError` instead of events."""

CONTENT_TYPE = "application/octet-stream"


def frame(message: bytes) -> bytes:
    """Returns a message as it travels."""
    return len(message).to_bytes(4, "little") + message


class Frames:
    """Cuts a stream of chunks into messages."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yields the messages that are complete now.

        Raises:
            WireError: a message announces more than `MESSAGE_BYTES_MAX` bytes.
        """
        self._held += chunk
        at = 0
        while len(self._held) - at >= 4:
            length = int.from_bytes(self._held[at : at + 4], "little")
            if length > MESSAGE_BYTES_MAX:
                raise WireError(f"a tap message of {length} bytes exceeds {MESSAGE_BYTES_MAX}")
            if len(self._held) - at - 4 < length:
                break
            yield bytes(self._held[at + 4 : at + 4 + length])
            at += 4 + length
        del self._held[:at]
