"""HTTP/1.1 messages on asyncio streams, both sides: strict, bounded, small.

Heads are parsed in one piece and bodies read by length, by chunks, or to the end of the connection.
What two parties could read differently is refused: folded fields, spaces before a colon, repeated or
odd lengths, a length beside chunks, bare line feeds.
Source: RFC 9112 §§2–7.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

HEAD_BYTES_MAX = 32 * 1024

Fields = tuple[tuple[str, str], ...]
"""Names in lower case and values, in their order."""

_READ_BYTES = 65536
_LINE_BYTES_MAX = 256
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~\x80-\xff][\t -~\x80-\xff]*)?)")
_LENGTH = re.compile(r"[0-9]{1,15}")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[\t -~\x80-\xff]*)?\r\n")


class BadMessage(Exception):
    """The peer sent what is no HTTP."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or a response.

    `length` is the body's, None when the connection's end ends it; `chunked` overrules it.
    """

    fields: Fields
    keep: bool
    chunked: bool
    length: int | None
    status: int = 0
    method: str = ""
    target: str = ""
    expects: bool = False

    def get(self, name: str) -> str:
        """Returns the last value of a field, given in lower case; empty without."""
        return next((value for key, value in reversed(self.fields) if key == name), "")


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """Returns the bytes of the next head, its empty line included.

    Raises:
        BadMessage: it is too long.
        EOFError: the connection ended first; `partial` says whether in the middle.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise BadMessage("the head is too long") from None
    if len(head) > HEAD_BYTES_MAX:
        raise BadMessage("the head is too long")
    return head


def request(head: bytes) -> Head:
    """Parses the head of a request.

    Raises:
        BadMessage: it is none.
    """
    line, _, rest = head.partition(b"\r\n")
    found = _REQUEST.fullmatch(line)
    if found is None:
        raise BadMessage("no request line")
    method, target, minor = found.groups()
    fields = _fields(rest)
    chunked, length = _framing(fields)
    hosts = sum(name == "host" for name, _ in fields)
    if hosts > 1 or (minor == b"1" and not hosts):
        raise BadMessage("not exactly one host")
    return Head(
        fields,
        _keeps(fields, minor),
        chunked,
        length or 0,
        method=method.decode("ascii"),
        target=target.decode("ascii"),
        expects=any(name == "expect" and value == "100-continue" for name, value in fields),
    )


def response(head: bytes, *, asked: str) -> Head:
    """Parses the head of a response to a request with the method `asked`.

    Raises:
        BadMessage: it is none.
    """
    line, _, rest = head.partition(b"\r\n")
    found = _STATUS.fullmatch(line)
    if found is None:
        raise BadMessage("no status line")
    minor, code = found.groups()
    status = int(code)
    fields = _fields(rest)
    chunked, length = _framing(fields)
    if asked == "HEAD" or status < 200 or status in (204, 304):
        chunked, length = False, 0
    keep = _keeps(fields, minor) and (chunked or length is not None)
    return Head(fields, keep, chunked, length, status=status)


def render(line: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """Returns a head; whoever calls it made sure that nothing in it holds a line break."""
    parts = [line, *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(parts).encode("latin-1")


async def chunks(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    """Yields a body as it comes, never an empty piece.

    Raises:
        BadMessage: its framing is wrong.
        EOFError: it ended too early.
    """
    if head.chunked:
        while size := await _size(reader):
            yield await reader.readexactly(size)
            if await reader.readexactly(2) != b"\r\n":
                raise BadMessage("a chunk does not end where it says")
        await _trailers(reader)
        return
    left = head.length
    while left is None or left:
        piece = await reader.read(_READ_BYTES if left is None else min(left, _READ_BYTES))
        if not piece:
            if left is None:
                return
            raise asyncio.IncompleteReadError(b"", left)
        if left is not None:
            left -= len(piece)
        yield piece


async def body(reader: asyncio.StreamReader, head: Head, bytes_max: int) -> bytes | None:
    """Returns a whole body; None when it exceeds `bytes_max`.

    Raises:
        BadMessage: its framing is wrong.
        EOFError: it ended too early.
    """
    if not head.chunked and head.length is not None:
        return None if head.length > bytes_max else await reader.readexactly(head.length)
    parts: list[bytes] = []
    size = 0
    async for piece in chunks(reader, head):
        size += len(piece)
        if size > bytes_max:
            return None
        parts.append(piece)
    return b"".join(parts)


def _fields(rest: bytes) -> Fields:
    lines = rest.split(b"\r\n")
    fields = []
    for line in lines[:-2]:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise BadMessage("no header field")
        name, value = found.groups()
        fields.append((name.decode("ascii").lower(), value.decode("latin-1").rstrip(" \t")))
    return tuple(fields)


def _framing(fields: Fields) -> tuple[bool, int | None]:
    length: int | None = None
    chunked = False
    for name, value in fields:
        if name == "content-length":
            if length is not None or _LENGTH.fullmatch(value) is None:
                raise BadMessage("a length that is none")
            length = int(value)
        elif name == "transfer-encoding":
            if chunked or value.lower() != "chunked":
                raise BadMessage("an unknown transfer encoding")
            chunked = True
    if chunked and length is not None:
        raise BadMessage("a length beside chunks")
    return chunked, length


def _keeps(fields: Fields, minor: bytes) -> bool:
    options = ",".join(value for name, value in fields if name == "connection").lower()
    words = {word.strip() for word in options.split(",")}
    return "close" not in words if minor == b"1" else "keep-alive" in words


async def _size(reader: asyncio.StreamReader) -> int:
    line = await _line(reader)
    found = _SIZE.fullmatch(line)
    if found is None:
        raise BadMessage("no size of a chunk")
    return int(found.group(1), 16)


async def _trailers(reader: asyncio.StreamReader) -> None:
    for _ in range(64):
        if await _line(reader) == b"\r\n":
            return
    raise BadMessage("too many trailers")


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readuntil(b"\r\n")
    except asyncio.LimitOverrunError:
        raise BadMessage("a line is too long") from None
    if len(line) > _LINE_BYTES_MAX and line != b"\r\n":
        raise BadMessage("a line is too long")
    return line
