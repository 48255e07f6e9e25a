"""HTTP/2 by hand: frames and header blocks, right or wrong as the caller wants them.

Source: RFC 9113 §4 and §6, RFC 7541 §5 and §6.
"""

import struct
from collections.abc import Iterable

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 0x1, 0x4, 0x8, 0x1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_TABLE_SIZE, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 1, 3, 4, 5

Fields = Iterable[tuple[str, str]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of any kind."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """An integer with a prefix of `bits` in an octet that begins as `first`."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def literal(name: str, value: str, *, remember: bool = False) -> bytes:
    """A field spelled out, which enters the dynamic table if `remember`."""
    head = b"\x40" if remember else b"\x00"
    for text in (name.encode("latin-1"), value.encode("latin-1")):
        head += integer(len(text), 7) + text
    return head


def indexed(index: int) -> bytes:
    """A reference to a table's entry; 62 is the newest of the dynamic table."""
    return integer(index, 7, 0x80)


def block(fields: Fields) -> bytes:
    """A header block without compression."""
    return b"".join(literal(name, value) for name, value in fields)


def request(
    method: str = "GET", path: str = "/", authority: str = "web.score"
) -> list[tuple[str, str]]:
    """The pseudo fields of a request."""
    return [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]


def headers(stream: int, fields: Fields, *, end: bool = True) -> bytes:
    """A complete header block in one frame."""
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(fields))


def get(stream: int, path: str = "/") -> bytes:
    """A request without body."""
    return headers(stream, request(path=path))


def post(stream: int, path: str = "/stream") -> bytes:
    """A request whose body follows."""
    return headers(stream, request("POST", path), end=False)


def data(stream: int, octets: bytes = b"", *, end: bool = False) -> bytes:
    """Body."""
    return frame(DATA, END_STREAM if end else 0, stream, octets)


def reset(stream: int, code: int = 8) -> bytes:
    """RST_STREAM; 8 is CANCEL."""
    return frame(RESET, 0, stream, struct.pack(">I", code))


def window(stream: int, octets: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW, 0, stream, struct.pack(">I", octets))


def settings(pairs: Iterable[tuple[int, int]] = (), *, ack: bool = False) -> bytes:
    """SETTINGS."""
    payload = b"".join(struct.pack(">HI", key, value) for key, value in pairs)
    return frame(SETTINGS, ACK if ack else 0, 0, payload)


def hello(pairs: Iterable[tuple[int, int]] = ()) -> bytes:
    """What a client begins with; it takes the server's settings for granted."""
    return PREFACE + settings(pairs) + settings(ack=True)
