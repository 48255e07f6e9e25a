"""SPDY/3.1 as a sans-IO codec: what Kubernetes' port-forward speaks inside its WebSocket.

    spdy = Spdy(client=True); spdy.syn_stream({"streamtype": "data"}); out = spdy.to_send()
    for event in spdy.receive(data): ...

Both ends use it: our client, and the node of the embedded cluster. No flow control, as in the
library that kubelets use; pings are answered by the codec itself.
Source: draft-mbelshe-httpbis-spdy-00 §2; moby/spdystream (what is used of it).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from linkerd.errors import WireError

FRAME_BYTES_MAX = 1 << 20
"""Longest frame that is accepted; peers send at most 32 KiB of data in one."""

_HEADER_BYTES_MAX = 64 * 1024

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8
_FIN = 0x01


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class Replied:
    """The peer accepted our stream."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; `fin` ends the peer's half."""

    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The peer broke a stream off."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The peer takes no new streams."""


Event = Opened | Replied | Data | Reset | GoneAway


class Spdy:
    """One session's state; feed it what arrives, send what it holds."""

    def __init__(self, *, client: bool) -> None:
        self._next = 1 if client else 2
        self._in = bytearray()
        self._out = bytearray()
        self._deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_DEFAULT_STRATEGY, _WORDS)
        self._inflate = zlib.decompressobj(zdict=_WORDS)
        self._parity = 1 if client else 0

    def to_send(self) -> bytes:
        """Returns and forgets the bytes to send."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def syn_stream(self, headers: Mapping[str, str], *, fin: bool = False) -> int:
        """Opens a stream; returns its id."""
        stream = self._next
        self._next += 2
        block = self._block(headers)
        self._control(_SYN_STREAM, _FIN if fin else 0, struct.pack(">IIH", stream, 0, 0) + block)
        return stream

    def syn_reply(self, stream: int, headers: Mapping[str, str] | None = None) -> None:
        """Accepts the peer's stream."""
        self._control(_SYN_REPLY, 0, struct.pack(">I", stream) + self._block(headers or {}))

    def data(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        """Sends bytes on a stream; `fin` ends our half."""
        at = 0
        while True:
            piece = data[at : at + 32768]
            at += len(piece)
            last = at >= len(data)
            flags = _FIN if fin and last else 0
            self._out += struct.pack(">II", stream, flags << 24 | len(piece)) + piece
            if last:
                return

    def reset(self, stream: int, status: int = 5) -> None:
        """Breaks a stream off; 5 is CANCEL."""
        self._control(_RST_STREAM, 0, struct.pack(">II", stream, status))

    def go_away(self) -> None:
        """Says that the session ends."""
        self._control(_GOAWAY, 0, struct.pack(">II", 0, 0))

    def receive(self, data: bytes) -> list[Event]:
        """Takes bytes from the peer, split anywhere.

        Raises:
            WireError: they are no SPDY/3.1.
        """
        self._in += data
        events: list[Event] = []
        while len(self._in) >= 8:
            first, second = struct.unpack_from(">II", self._in)
            length, flags = second & 0xFFFFFF, second >> 24
            if length > FRAME_BYTES_MAX:
                raise WireError(f"spdy frame of {length} bytes")
            if len(self._in) < 8 + length:
                break
            payload = bytes(self._in[8 : 8 + length])
            del self._in[: 8 + length]
            if first & 0x8000_0000:
                event = self._frame(first & 0xFFFF, flags, payload)
            else:
                event = Data(first, payload, bool(flags & _FIN))
            if event is not None:
                events.append(event)
        return events

    def _frame(self, kind: int, flags: int, payload: bytes) -> Event | None:
        fin = bool(flags & _FIN)
        try:
            if kind == _SYN_STREAM:
                (stream,) = struct.unpack_from(">I", payload)
                return Opened(stream, self._headers(payload[10:]), fin)
            if kind == _SYN_REPLY:
                (stream,) = struct.unpack_from(">I", payload)
                return Replied(stream, self._headers(payload[4:]), fin)
            if kind == _HEADERS:
                self._headers(payload[4:])  # keeps the shared compression state
                return None
            if kind == _RST_STREAM:
                return Reset(*struct.unpack(">II", payload))
            if kind == _PING:
                (number,) = struct.unpack(">I", payload)
                if number & 1 != self._parity:
                    self._control(_PING, 0, payload)
                return None
            if kind == _GOAWAY:
                return GoneAway()
        except struct.error:
            raise WireError(f"spdy frame {kind} of {len(payload)} bytes is cut short") from None
        return None  # SETTINGS, WINDOW_UPDATE and unknown kinds mean nothing here

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        self._out += struct.pack(">HHI", 0x8003, kind, flags << 24 | len(payload)) + payload

    def _block(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += (struct.pack(">I", len(text)), text)
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, _HEADER_BYTES_MAX)
        except zlib.error as error:
            raise WireError(f"spdy headers do not inflate: {error}") from None
        if self._inflate.unconsumed_tail:
            raise WireError(f"spdy headers exceed {_HEADER_BYTES_MAX} bytes")
        headers: dict[str, str] = {}
        (count,) = struct.unpack_from(">I", text)
        at = 4
        for _ in range(count):
            pair: list[str] = []
            for _ in range(2):
                (length,) = struct.unpack_from(">I", text, at)
                at += 4
                if at + length > len(text):
                    raise WireError("spdy headers are cut short")
                pair.append(text[at : at + length].decode("utf-8", "replace"))
                at += length
            headers[pair[0]] = pair[1]
        return headers


def _dictionary() -> bytes:
    """Returns the compression dictionary: length-prefixed words, then plain text."""
    words = (
        "options head post put delete trace accept accept-charset accept-encoding accept-language "
        "accept-ranges age allow authorization cache-control connection content-base "
        "content-encoding content-language content-length content-location content-md5 "
        "content-range content-type date etag expect expires from host if-match "
        "if-modified-since if-none-match if-range if-unmodified-since last-modified location "
        "max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after "
        "server te trailer transfer-encoding upgrade user-agent vary via warning "
        "www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
        "keep-alive origin"
    )
    codes = (
        "100 101 201 202 205 206 300 302 303 304 305 306 307 402 405 406 407 408 409 410 411 412 "
        "413 414 415 416 417 502 504 505"
    )
    text = (
        codes.replace(" ", "")
        + "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
        "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
        "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, "
        "Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
        "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
        "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
    )
    prefixed = (word.replace("_", " ").encode() for word in words.split())
    return b"".join(struct.pack(">I", len(word)) + word for word in prefixed) + text.encode()


_WORDS = _dictionary()
