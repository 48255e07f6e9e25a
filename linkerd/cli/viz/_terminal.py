"""The terminal as a full screen: raw keys in, whole pictures out, and everything put back after."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import termios
import tty
from collections.abc import Iterator, Sequence

_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME = "\x1b[H"
_CLEAR_LINE = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"
_KEYS = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1b[5~": "page-up",
    b"\x1b[6~": "page-down",
    b"\x03": "q",
    b"\x1b": "q",
}
_KEY_BYTES_MAX = 16


class Terminal:
    """A screen that is drawn as a whole."""

    def __init__(self) -> None:
        self._keys: asyncio.Queue[str] = asyncio.Queue()

    def size(self) -> tuple[int, int]:
        """Returns width and height in cells."""
        found = shutil.get_terminal_size()
        return found.columns, found.lines

    def draw(self, lines: Sequence[str]) -> None:
        """Replaces the picture."""
        text = f"{_CLEAR_LINE}\r\n".join(lines)
        sys.stdout.write(f"{_HOME}{text}{_CLEAR_LINE}{_CLEAR_BELOW}")
        sys.stdout.flush()

    async def key(self) -> str:
        """Returns the next key: a character, or up, down, left, right, page-up, page-down."""
        return await self._keys.get()

    def _pressed(self) -> None:
        data = os.read(sys.stdin.fileno(), _KEY_BYTES_MAX)
        name = _KEYS.get(data) or data.decode("utf-8", "replace")[:1]
        self._keys.put_nowait(name or "q")


@contextlib.contextmanager
def full_screen() -> Iterator[Terminal]:
    """Lends the terminal; inside a running event loop."""
    loop = asyncio.get_running_loop()
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    terminal = Terminal()
    tty.setcbreak(handle, termios.TCSADRAIN)  # keys that were pressed already count
    loop.add_reader(handle, terminal._pressed)
    sys.stdout.write(_ENTER)
    try:
        yield terminal
    finally:
        loop.remove_reader(handle)
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
