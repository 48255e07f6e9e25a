"""A container's log file: kubelet's line format, bounded by rotation.

    2026-01-02T03:04:05.123456789Z stdout F a whole line
    2026-01-02T03:04:05.123456789Z stderr P the first part of a line longer than 16 KiB

Written by the zygote (so that logging outlives the node), read by the node's log server.
Source: kubernetes pkg/kubelet/kuberuntime/logs/logs.go (format), containerd's CRI plugin.
"""

from __future__ import annotations

import os
import time

#: Longest text of one entry; longer lines are split into `P` entries and a final `F`.
ENTRY_BYTES_MAX = 16 * 1024
#: A file that grows beyond this is renamed to `<name>.1` (`.1` to `.2`, …).
FILE_BYTES_MAX = 10 * 1024 * 1024
#: Rotated files that are kept beside the current one.
ROTATED_MAX = 2


def stamp(now_ns: int) -> str:
    """Returns Unix nanoseconds as RFC 3339 with nine digits, in UTC."""
    seconds, nanos = divmod(now_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanos:09d}Z"


class LineSplitter:
    """Turns the bytes of one stream into log entries; keeps an unfinished line."""

    __slots__ = ("_rest", "_stream")

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._rest = b""

    def feed(self, data: bytes, now_ns: int) -> bytes:
        """Returns the entries that `data` completes; empty when it completes none."""
        head = f"{stamp(now_ns)} {self._stream} ".encode()
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        out = [part for line in lines for part in _entries(head, line, last=b"F ")]
        if len(self._rest) >= ENTRY_BYTES_MAX:
            whole = len(self._rest) // ENTRY_BYTES_MAX * ENTRY_BYTES_MAX
            out += _entries(head, self._rest[:whole], last=b"P ")
            self._rest = self._rest[whole:]
        return b"".join(out)

    def end(self, now_ns: int) -> bytes:
        """Returns the entry of a last line that had no newline."""
        return self.feed(b"\n", now_ns) if self._rest else b""


def _entries(head: bytes, line: bytes, *, last: bytes) -> list[bytes]:
    parts = [line[at : at + ENTRY_BYTES_MAX] for at in range(0, len(line), ENTRY_BYTES_MAX)] or [
        b""
    ]
    return [head + b"P " + part + b"\n" for part in parts[:-1]] + [head + last + parts[-1] + b"\n"]


class LogFile:
    """An append-only file that rotates itself; a full disk loses lines, never the writer."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._open()

    def write(self, entries: bytes) -> None:
        """Appends whole entries; drops them when the disk refuses."""
        if not entries:
            return
        try:
            self._size += os.write(self._fd, entries)
            if self._size > FILE_BYTES_MAX:
                self._rotate()
        except OSError:
            return

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        for number in range(ROTATED_MAX, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(older):
                os.replace(older, f"{self._path}.{number}")
        os.close(self._fd)
        self._open()
