"""Reading a container's log files: the last lines, since a time, or as they grow.

Source: kubernetes pkg/kubelet/kuberuntime/logs/logs.go.
"""

from __future__ import annotations

import asyncio
import datetime
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from linkerd.local.node.logfile import ROTATED_MAX

_READ_BYTES = 64 * 1024
# A follower looks at the file's size: cheaper than a watch for a file that changes many times a second.
_LOOK_S = 0.2


@dataclass(frozen=True)
class Wanted:
    """Which lines to return.

    Args:
        tail: The last so many lines; None means all.
        since: Only lines at or after this time (Unix seconds).
        limit_bytes: Stop after so many bytes; None means no limit.
        timestamps: Begin each line with its time.
        follow: Go on until the container ends.
    """

    tail: int | None = None
    since: float = 0.0
    limit_bytes: int | None = None
    timestamps: bool = False
    follow: bool = False


def rendered(entry: bytes, wanted: Wanted) -> bytes | None:
    """Returns what a client sees of one log entry; None when it is too old or no entry."""
    parts = entry.split(b" ", 3)
    if len(parts) != 4:
        return None
    time_text, _, mark, text = parts
    if wanted.since and _unix(time_text) < wanted.since:
        return None
    line = text.rstrip(b"\n") if mark == b"P" else text
    return time_text + b" " + line if wanted.timestamps else line


async def read(file: Path, wanted: Wanted, is_running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yields chunks of a container's log.

    Args:
        file: The current file; older ones are `<file>.1`, `<file>.2`.
        wanted: Which lines.
        is_running: Whether more may come; a follower ends when it says no.
    """
    left = wanted.limit_bytes
    position = _size(file)
    entries: Iterator[bytes] | deque[bytes] = _entries(file, position)
    if wanted.tail is not None:
        entries = deque(entries, maxlen=wanted.tail)
    chunk = b"".join(filter(None, (rendered(entry, wanted) for entry in entries)))
    if left is not None:
        chunk, left = chunk[:left], max(left - len(chunk), 0)
    if chunk:
        yield chunk
    if not wanted.follow:
        return
    rest = b""
    while left != 0:
        # Asked before reading, so that what a container wrote last is not lost.
        running = is_running()
        data, position, rotated = _more(file, position)
        *lines, rest = (rest + data).split(b"\n")
        chunk = b"".join(filter(None, (rendered(line + b"\n", wanted) for line in lines)))
        if left is not None:
            chunk, left = chunk[:left], max(left - len(chunk), 0)
        if chunk:
            yield chunk
        if not data and not rotated:
            if not running:
                return
            await asyncio.sleep(_LOOK_S)


def _entries(file: Path, position: int) -> Iterator[bytes]:
    """Yields what was written before `position` of the current file, the oldest first."""
    for number in range(ROTATED_MAX, 0, -1):
        try:
            with file.with_name(f"{file.name}.{number}").open("rb") as source:
                yield from source
        except FileNotFoundError:
            continue
    try:
        with file.open("rb") as source:
            yield from source.read(position).splitlines(keepends=True)
    except FileNotFoundError:
        return


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _more(file: Path, position: int) -> tuple[bytes, int, bool]:
    """Returns what was written since `position`, the new position, whether the file was rotated."""
    if _size(file) >= position:
        data = _read(file, position)
        return data, position + len(data), False
    older = file.with_name(f"{file.name}.1")
    data = _read(older, position)
    if data:
        return data, position + len(data), False
    return b"", 0, True


def _read(file: Path, position: int) -> bytes:
    try:
        with file.open("rb") as source:
            source.seek(position, os.SEEK_SET)
            return source.read(_READ_BYTES)
    except FileNotFoundError:
        return b""


def _unix(text: bytes) -> float:
    try:
        when = datetime.datetime.fromisoformat(text[:26].decode() + "+00:00")
    except ValueError:
        return 0.0
    return when.timestamp()
