"""The header decoder on the examples of RFC 7541, and on what no client should send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkerd.serve import hpack

PLAIN = (
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
)
CODED = (
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
)
REQUESTS = (
    {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "www.example.com"},
    {
        ":method": "GET",
        ":scheme": "http",
        ":path": "/",
        ":authority": "www.example.com",
        "cache-control": "no-cache",
    },
    {
        ":method": "GET",
        ":scheme": "https",
        ":path": "/index.html",
        ":authority": "www.example.com",
        "custom-key": "custom-value",
    },
)


def decoded(decoder: hpack.Decoder, block: str) -> dict[str, str]:
    fields = decoder.decode(bytes.fromhex(block))
    return {name.decode(): value.decode() for name, value in fields}


@pytest.mark.parametrize("blocks", [PLAIN, CODED], ids=["plain", "huffman"])
def test_requests_of_one_connection(blocks: tuple[str, ...]) -> None:
    """Source: RFC 7541 C.3, C.4."""
    decoder = hpack.Decoder()
    assert list(REQUESTS) == [decoded(decoder, block) for block in blocks]


def test_old_fields_leave_the_table() -> None:
    """A table of 256 bytes, as in RFC 7541 C.6, set by the encoder."""
    decoder = hpack.Decoder()
    responses = (
        "3fe101488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff"
        "6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
    )
    first = decoded(decoder, responses[0])
    assert ("302", "private") == (first[":status"], first["cache-control"])
    assert "https://www.example.com" == first["location"]
    second = decoded(decoder, responses[1])
    assert ("307", first["date"]) == (second[":status"], second["date"])


@pytest.mark.parametrize(
    "block",
    [
        "80",  # index 0
        "ff80808080808001",  # an index beyond any table
        "fe",  # an index of nothing
        "40",  # a literal without a name
        "4003616263",  # … without a value
        "00ff808080808080",  # a length beyond any block
        "3fe2ff01",  # a table larger than offered
        "8220",  # a table size in the middle
        "0084ffffffff00",  # a code that ends the string
        "008100" + "00",  # padding that is not all ones
    ],
)
def test_malformed_blocks_are_refused(block: str) -> None:
    with pytest.raises(hpack.HpackError):
        hpack.Decoder().decode(bytes.fromhex(block))


def test_a_list_that_grows_from_few_bytes_is_refused() -> None:
    """One byte may stand for 4 KiB: the bound is on the list, not on the block."""
    decoder = hpack.Decoder()
    large = b"\x40\x01a" + b"\x7f\x81\x1e" + b"v" * 3968
    decoder.decode(large)
    with pytest.raises(hpack.HpackError, match="exceed"):
        decoder.decode(b"\xbe" * 5)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_an_error(block: bytes) -> None:
    try:
        fields = hpack.Decoder().decode(block)
    except hpack.HpackError:
        return
    size = sum(len(name) + len(value) + 32 for name, value in fields)
    assert hpack.LIST_BYTES_MAX >= size


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=20))
def test_literals_are_read_back(fields: list[tuple[bytes, bytes]]) -> None:
    block = b"".join(hpack.literal(name, value) for name, value in fields)
    assert fields == hpack.Decoder().decode(block)
