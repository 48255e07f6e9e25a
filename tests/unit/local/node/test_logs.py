"""Container logs: lines to entries to what a client reads. Files in pytest's folder only."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from linkerd.local.node import logfile, logreader
from linkerd.local.node.logreader import Options

T0 = "1970-01-01T00:00:00.000000000Z"


def test_a_stamp_has_nine_digits() -> None:
    assert "2026-01-02T03:04:05.000000006Z" == logfile.stamp(1767323045_000000006)


def test_lines_split_anywhere_give_the_same_entries() -> None:
    data = b"one\n\nthree\nrest"
    whole = logfile.LineSplitter("stdout")
    expected = whole.feed(data, 0) + whole.end(0)
    for cut in range(len(data)):
        parts = logfile.LineSplitter("stdout")
        found = parts.feed(data[:cut], 0) + parts.feed(data[cut:], 0) + parts.end(0)
        assert expected == found
    head = f"{T0} stdout F ".encode()
    assert b"".join(head + t + b"\n" for t in (b"one", b"", b"three", b"rest")) == expected


def test_a_long_line_becomes_parts() -> None:
    splitter = logfile.LineSplitter("stderr")
    limit = logfile.ENTRY_BYTES_MAX
    lines = splitter.feed(b"x" * (limit + 5) + b"\n", 0).splitlines()
    tags = [line.split(b" ", 3)[2] for line in lines]
    assert [b"P", b"F"] == tags
    entries = [entry for line in lines if (entry := logreader.parse(line))]
    text = b"".join(logreader.render(e, timestamps=False, fresh=True) for e in entries)
    assert b"x" * (limit + 5) + b"\n" == text


def test_a_file_that_grows_too_large_rotates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "FILE_BYTES_MAX", 10)
    log = logfile.LogFile(str(tmp_path / "0.log"))
    for number in range(4):
        log.write(b"%d" % number * 11)
    log.close()
    names = {entry.name: entry.read_bytes()[:1] for entry in tmp_path.iterdir()}
    assert {"0.log": b"", "0.log.1": b"3", "0.log.2": b"2"} == names


LINES = [f"1970-01-01T00:00:0{n}.000000000Z stdout F {n}".encode() for n in range(5)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), "01234"),
        (Options(tail=2), "34"),
        (Options(tail=0), ""),
        (Options(since="1970-01-01T00:00:03"), "34"),
        (Options(since="1970-01-01T00:00:03", tail=1), "4"),
    ],
)
def test_what_is_wanted_of_a_log(options: Options, expected: str) -> None:
    assert expected == b"".join(e.text for e in logreader.select(LINES, options)).decode()


async def test_following_sees_new_lines_rotation_and_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "FILE_BYTES_MAX", 100)
    path = tmp_path / "0.log"
    log = logfile.LogFile(str(path))
    splitter = logfile.LineSplitter("stdout")
    log.write(splitter.feed(b"0\n", 0))
    gone = asyncio.Event()
    seen: list[bytes] = []
    async with asyncio.timeout(60):
        async for entry in logreader.read(path, Options(follow=True), gone.is_set, gone):
            seen.append(entry.text)
            if len(seen) < 8:
                log.write(splitter.feed(b"%d\n" % len(seen), 0))
            else:
                gone.set()
    log.close()
    assert [b"%d" % n for n in range(8)] == seen
