"""Reading container logs back: tail, since, previous, and following a file as it grows.

Source: Kubernetes pkg/kubelet/kuberuntime/logs/logs.go (options' meaning).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from linkerd.local.node.logfile import ROTATED_MAX

_CHUNK = 64 * 1024
_IN_MODIFY, _IN_CREATE, _IN_MOVED_TO = 0x2, 0x100, 0x80
_IN_NONBLOCK_CLOEXEC = 0o2004000


@dataclass(frozen=True, slots=True)
class Options:
    """What of a log is wanted; `since` is a stamp that is compared as text."""

    follow: bool = False
    tail: int | None = None
    since: str = ""
    timestamps: bool = False
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the file: its stamp, stream and text; `whole` is false for the part of a line."""

    stamp: str
    stream: str
    whole: bool
    text: bytes


def parse(line: bytes) -> Entry | None:
    """Returns a line's entry, None if it is malformed."""
    parts = line.split(b" ", 3)
    if len(parts) < 4 or parts[2] not in (b"F", b"P"):
        return None
    return Entry(parts[0].decode("ascii", "replace"), parts[1].decode(), parts[2] == b"F", parts[3])


def select(lines: Iterable[bytes], options: Options) -> Iterator[Entry]:
    """Returns the entries that are wanted of lines that are there already."""
    entries = (entry for line in lines if (entry := parse(line)) is not None)
    wanted = (entry for entry in entries if not options.since or entry.stamp >= options.since)
    if options.tail is None:
        return wanted
    if options.tail <= 0:
        return iter(())
    groups: deque[list[Entry]] = deque(maxlen=options.tail)
    whole = True
    for entry in wanted:
        if whole:
            groups.append([])
        groups[-1].append(entry)
        whole = entry.whole
    return (entry for group in groups for entry in group)


def render(entry: Entry, *, timestamps: bool, fresh: bool) -> bytes:
    """Returns an entry as the client sees it; `fresh` says that it begins a line."""
    head = f"{entry.stamp} ".encode() if timestamps and fresh else b""
    return head + entry.text + (b"\n" if entry.whole else b"")


async def read(
    path: Path, options: Options, ended: Callable[[], bool], on_end: asyncio.Event
) -> AsyncIterator[Entry]:
    """Yields the entries of a log, and with `follow` those to come until the container ended.

    Args:
        path: The current file; rotated ones are read before it.
        options: What is wanted.
        ended: Whether the container's process is gone.
        on_end: Set when it goes.
    """
    watch = _Watch(path.parent) if options.follow else None
    try:
        lines: list[bytes] = []
        for number in range(ROTATED_MAX, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                lines += path.with_name(f"{path.name}.{number}").read_bytes().splitlines()
        file = open(path, "rb")  # noqa: SIM115, ASYNC230 (a local file, kept open while following)
        try:
            data = file.read()
            rest = data[data.rfind(b"\n") + 1 :]
            lines += data[: len(data) - len(rest)].splitlines()
            for entry in select(lines, options):
                yield entry
            while watch is not None:
                last = ended()
                while data := file.read(_CHUNK):
                    *complete, rest = (rest + data).split(b"\n")
                    for line in complete:
                        found = parse(line)
                        if found is not None:
                            yield found
                if _replaced(file.fileno(), path):
                    file.close()
                    file, rest = open(path, "rb"), b""  # noqa: SIM115, ASYNC230
                    continue
                if last:
                    return
                await watch.change(on_end)
        finally:
            file.close()
    finally:
        if watch is not None:
            watch.close()


def _replaced(fd: int, path: Path) -> bool:
    try:
        return os.fstat(fd).st_ino != os.stat(path).st_ino
    except FileNotFoundError:
        return False


class _Watch:
    """Waits for changes in a folder, by inotify."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(_IN_NONBLOCK_CLOEXEC)
        mask = _IN_MODIFY | _IN_CREATE | _IN_MOVED_TO
        if self._fd < 0 or libc.inotify_add_watch(self._fd, os.fsencode(folder), mask) < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"watch {folder}: {os.strerror(number)}")

    async def change(self, or_event: asyncio.Event) -> None:
        """Returns after a change, or once `or_event` is set."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._fd, ready.set)
        waits = [asyncio.ensure_future(event.wait()) for event in (ready, or_event)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(self._fd)
            for wait in waits:
                wait.cancel()
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._fd, 4096)) >= struct.calcsize("iIII"):
                pass

    def close(self) -> None:
        """Ends the watch."""
        os.close(self._fd)
