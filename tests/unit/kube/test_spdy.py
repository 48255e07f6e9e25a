"""SPDY/3.1: two codecs talk to each other, split anywhere; recorded header bytes; garbage."""

from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkerd.errors import WireError
from linkerd.kube.spdy import _WORDS, Data, Opened, Replied, Reset, Spdy


def test_the_dictionary_is_the_drafts() -> None:
    """Its length and checksum, as every SPDY/3 header block names it."""
    assert (1423, 0xE3C6A7C2) == (len(_WORDS), zlib.adler32(_WORDS))


def test_a_connection_is_two_streams() -> None:
    client, server = Spdy(client=True), Spdy(client=False)
    error = client.syn_stream({"streamType": "error", "port": "80", "requestID": "0"})
    client.data(error, b"", fin=True)
    data = client.syn_stream({"streamType": "data", "port": "80", "requestID": "0"})
    client.data(data, b"hello")
    assert [
        Opened(1, {"streamtype": "error", "port": "80", "requestid": "0"}, False),
        Data(1, b"", True),
        Opened(3, {"streamtype": "data", "port": "80", "requestid": "0"}, False),
        Data(3, b"hello", False),
    ] == server.receive(client.to_send())
    server.syn_reply(3)
    server.data(3, b"bye", fin=True)
    server.reset(1)
    assert [Replied(3, {}, False), Data(3, b"bye", True), Reset(1, 5)] == client.receive(
        server.to_send()
    )


def test_pings_of_the_peer_are_answered_and_ours_are_not() -> None:
    client = Spdy(client=True)
    for number, answer in ((2, True), (1, False)):
        ping = b"\x80\x03\x00\x06\x00\x00\x00\x04" + number.to_bytes(4, "big")
        assert [] == client.receive(ping)
        assert (ping if answer else b"") == client.to_send()


@given(st.lists(st.binary(max_size=100), max_size=5), st.integers(1, 40))
def test_any_split_gives_the_same_events(pieces: list[bytes], size: int) -> None:
    client = Spdy(client=True)
    stream = client.syn_stream({"a": "b"})
    for piece in pieces:
        client.data(stream, piece)
    wire = client.to_send()
    whole = Spdy(client=False).receive(wire)
    server = Spdy(client=False)
    split = [
        event for at in range(0, len(wire), size) for event in server.receive(wire[at : at + size])
    ]
    assert whole == split


@given(st.binary(max_size=200))
def test_any_bytes_give_events_or_an_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        Spdy(client=False).receive(data)


def test_an_oversized_frame_is_refused() -> None:
    with pytest.raises(WireError, match="frame of"):
        Spdy(client=False).receive(b"\x00\x00\x00\x01\x00\xff\xff\xff")
