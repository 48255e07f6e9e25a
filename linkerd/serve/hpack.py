"""Header compression of HTTP/2: a decoder with a dynamic table, and literals for what we send.

Our own headers are few and constant, so nothing is ever added to the peer's table and an encoder
needs no state. Tables and header lists are bounded.
Source: RFC 7541.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache

from linkerd.errors import WireError

TABLE_BYTES_MAX = 4096
LIST_BYTES_MAX = 16 * 1024
"""Names, values and 32 bytes for each field, of one header block."""

Field = tuple[bytes, bytes]

_FIELD_BYTES = 32
_INTEGER_SHIFT_MAX = 28
_STATIC: tuple[Field, ...] = tuple(
    (name.encode(), value.encode())
    for line in """
:authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https
:status=200|:status=204|:status=206|:status=304|:status=400|:status=404|:status=500
accept-charset|accept-encoding=gzip, deflate|accept-language|accept-ranges|accept
access-control-allow-origin|age|allow|authorization|cache-control|content-disposition
content-encoding|content-language|content-length|content-location|content-range|content-type
cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range
if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate
proxy-authorization|range|referer|refresh|retry-after|server|set-cookie
strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate
""".strip().splitlines()
    for name, _, value in (field.partition("=") for field in line.split("|"))
)
# The code is canonical, so the length of each symbol's code, "A" for five bits, says it all; the
# last one is the end of the string.
_LENGTHS = [
    ord(letter) - 60
    for letter in (
        "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCCCCDC"
        "DIOIJBKABABABBBACCBBBABCBAABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRTQRSSQQRQ"
        "SRSSPRRRSRRSVVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWVZ"
    )
]
_END = 256


def _codes() -> dict[tuple[int, int], int]:
    codes: dict[tuple[int, int], int] = {}
    code = bits = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_LENGTHS)):
        code <<= length - bits
        bits = length
        codes[length, code] = symbol
        code += 1
    return codes


_CODES = _codes()
_LENGTH_MAX = max(_LENGTHS)


class HpackError(WireError):
    """A header block is malformed or too large; the connection cannot go on."""


class Decoder:
    """One connection's decoder."""

    __slots__ = ("_entries", "_limit", "_size")

    def __init__(self) -> None:
        self._entries: deque[Field] = deque()
        self._size = 0
        self._limit = TABLE_BYTES_MAX

    def decode(self, block: bytes) -> list[Field]:
        """Returns the fields of a whole header block.

        Raises:
            HpackError: it is malformed, or its list exceeds `LIST_BYTES_MAX`.
        """
        fields: list[Field] = []
        at = size = 0
        try:
            while at < len(block):
                byte = block[at]
                if byte & 0x80:
                    index, at = _integer(block, at, 7)
                    field = self._field(index)
                elif byte & 0x40:
                    field, at = self._literal(block, at, 6)
                    self._add(field)
                elif byte & 0x20:
                    limit, at = _integer(block, at, 5)
                    if fields or limit > TABLE_BYTES_MAX:
                        raise HpackError("a table size that was not offered")
                    self._limit = limit
                    self._evict()
                    continue
                else:
                    field, at = self._literal(block, at, 4)
                size += len(field[0]) + len(field[1]) + _FIELD_BYTES
                if size > LIST_BYTES_MAX:
                    raise HpackError(f"headers exceed {LIST_BYTES_MAX} bytes")
                fields.append(field)
        except IndexError:
            raise HpackError("a header block ends too early") from None
        return fields

    def _literal(self, block: bytes, at: int, bits: int) -> tuple[Field, int]:
        index, at = _integer(block, at, bits)
        if index:
            name = self._field(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _field(self, index: int) -> Field:
        if index == 0 or index > len(_STATIC) + len(self._entries):
            raise HpackError(f"no header has the index {index}")
        if index <= len(_STATIC):
            return _STATIC[index - 1]
        return self._entries[index - len(_STATIC) - 1]

    def _add(self, field: Field) -> None:
        self._entries.appendleft(field)
        self._size += len(field[0]) + len(field[1]) + _FIELD_BYTES
        self._evict()

    def _evict(self) -> None:
        while self._size > self._limit:
            name, value = self._entries.pop()
            self._size -= len(name) + len(value) + _FIELD_BYTES


def literal(name: bytes, value: bytes) -> bytes:
    """Returns a field as a literal that no table takes up."""
    return b"\x00" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    size = len(text)
    if size < 0x7F:
        return bytes((size,))
    out = bytearray((0x7F,))
    size -= 0x7F
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    full = (1 << bits) - 1
    value = block[at] & full
    at += 1
    if value < full:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > _INTEGER_SHIFT_MAX:
            raise HpackError("an integer is too large")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    coded = block[at] & 0x80
    size, at = _integer(block, at, 7)
    text = block[at : at + size]
    if len(text) != size:
        raise HpackError("a string ends too early")
    return (_plain(text) if coded else text), at + size


@lru_cache(maxsize=256)
def _plain(coded: bytes) -> bytes:
    """Undoes the Huffman code; proxies repeat the same few strings."""
    out = bytearray()
    code = bits = 0
    for byte in coded:
        for shift in (7, 6, 5, 4, 3, 2, 1, 0):
            code = code << 1 | byte >> shift & 1
            bits += 1
            symbol = _CODES.get((bits, code))
            if symbol is not None:
                if symbol == _END:
                    raise HpackError("a string holds its own end")
                out.append(symbol)
                code = bits = 0
            elif bits > _LENGTH_MAX:
                raise HpackError("a string has no such code")
    if bits > 7 or code != (1 << bits) - 1:
        raise HpackError("a string is padded wrongly")
    return bytes(out)
