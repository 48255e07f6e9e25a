"""HTTP/1.1 messages: what is read, what is refused, and that h11 reads the same."""

from __future__ import annotations

import asyncio

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkerd.kube import http1
from linkerd.kube.http1 import BadMessage

HOST = b"Host: x\r\n"


def reader(data: bytes) -> asyncio.StreamReader:
    made = asyncio.StreamReader(limit=65536)
    made.feed_data(data)
    made.feed_eof()
    return made


async def test_a_request_with_a_body() -> None:
    stream = reader(
        b"POST /a?b HTTP/1.1\r\nHost: x\r\nX-A:  1 \r\nx-a: 2\r\nContent-Length: 3\r\n\r\nabcGET"
    )
    head = http1.request(await http1.read_head(stream))
    assert ("POST", "/a?b", True, "2") == (head.method, head.target, head.keep, head.get("x-a"))
    assert (("host", "x"), ("x-a", "1"), ("x-a", "2"), ("content-length", "3")) == head.fields
    assert b"abc" == await http1.body(stream, head, 3)
    assert b"GET" == await stream.read()


@pytest.mark.parametrize(
    "head",
    [
        b"GET  / HTTP/1.1\r\n" + HOST,
        b"GET / HTTP/2\r\n" + HOST,
        b"GET /\x00 HTTP/1.1\r\n" + HOST,
        b"G(T / HTTP/1.1\r\n" + HOST,
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n" + HOST * 2,
        b"GET / HTTP/1.0\r\n" + HOST * 2,
        b"GET / HTTP/1.1\r\n" + HOST + b"A : b\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"A: b\nC: d\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"A: \x01\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(BadMessage):
        http1.request(head + b"\r\n")


@pytest.mark.parametrize(
    ("head", "asked", "length", "keep"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n", "GET", 4, True),
        (b"HTTP/1.1 200\r\nContent-Length: 4\r\nConnection: close\r\n", "GET", 4, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n", "GET", 4, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\nConnection: Keep-Alive\r\n", "GET", 4, True),
        (b"HTTP/1.1 200 OK\r\n", "GET", None, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n", "HEAD", 0, True),
        (b"HTTP/1.1 204 No Content\r\n", "DELETE", 0, True),
        (b"HTTP/1.1 101 Switching Protocols\r\n", "GET", 0, True),
    ],
)
def test_the_lengths_of_responses(head: bytes, asked: str, length: int | None, keep: bool) -> None:
    found = http1.response(head + b"\r\n", asked=asked)
    assert (length, keep, False) == (found.length, found.keep, found.chunked)


async def chunked(body: bytes) -> list[bytes]:
    head = http1.response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", asked="GET")
    return [piece async for piece in http1.chunks(reader(body), head)]


async def test_chunks() -> None:
    assert [b"abc", b"x" * 16] == await chunked(
        b"3\r\nabc\r\n10;name=value\r\n" + b"x" * 16 + b"\r\n0\r\nTrailer: t\r\n\r\n"
    )


@pytest.mark.parametrize(
    "body",
    [b"-1\r\nabc\r\n", b"3\nabc\r\n", b"3\r\nabcd\r\n", b"\r\n", b"g\r\n", b"0" * 300 + b"\r\n"],
)
async def test_wrong_chunks_are_refused(body: bytes) -> None:
    with pytest.raises(BadMessage):
        await chunked(body)


@pytest.mark.parametrize("body", [b"", b"3\r\nab", b"3\r\nabc\r\n", b"0\r\n"])
async def test_a_body_that_ends_early_is_no_body(body: bytes) -> None:
    with pytest.raises(EOFError):
        await chunked(body)


async def test_bodies_are_bounded() -> None:
    head = http1.response(b"HTTP/1.1 200 OK\r\n\r\n", asked="GET")
    assert b"12345" == await http1.body(reader(b"12345"), head, 5)
    assert await http1.body(reader(b"123456"), head, 5) is None
    with pytest.raises(BadMessage):
        await http1.read_head(reader(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n"))


lines = st.lists(
    st.sampled_from(
        (
            b"Host: x",
            b"Content-Length: 3",
            b"Content-Length: 0",
            b"Transfer-Encoding: chunked",
            b"Connection: close",
            b"Connection: keep-alive, x",
            b"A: b",
            b"A:",
            b"A: \xff",
            b"A : b",
            b" folded",
            b"A\x00: b",
        )
    ),
    max_size=5,
)


@given(lines, st.sampled_from((b"1.1", b"1.0")))
def test_h11_reads_the_same_wherever_we_read(fields: list[bytes], version: bytes) -> None:
    """Whatever we take, a second implementation takes with the same meaning."""
    head = b"\r\n".join([b"POST / HTTP/" + version, *fields, b"", b""])
    try:
        ours = http1.request(head)
    except BadMessage:
        return
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(head)
    theirs = oracle.next_event()
    assert isinstance(theirs, h11.Request)
    assert [(name.encode(), value.encode("latin-1")) for name, value in ours.fields] == [
        (name, value) for name, value in theirs.headers
    ]
