"""The picture that `linkerd viz top` draws, and what keys do to it. Pure.

Source: linkerd2 viz/cmd/top.go (columns, keys).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linkerd.viz.tap.top import Row, Top, duration_text

_REVERSE = "\x1b[7m"
_RED = "\x1b[31m"
_PLAIN = "\x1b[0m"
_HINT = "(press q to quit)"
_GAP = 2
_TEXT_MAX = 60
_TEXT_MIN = 8

_Sort = Callable[[Row], Any]
_SORTS: tuple[tuple[str, _Sort], ...] = (
    ("Count", lambda row: -row.count),
    ("Worst", lambda row: -row.worst_s),
    ("Last", lambda row: -row.last_s),
    ("Success Rate", lambda row: row.success_rate),
    ("Path", lambda row: row.key.path),
)


class Screen:
    """State of the view on a `Top`: scroll position and order."""

    def __init__(self, top: Top, *, hide_sources: bool = False, routes: bool = False) -> None:
        self.top = top
        self._hide_sources = hide_sources
        self._routes = routes
        self._down = self._right = self._sort = 0

    def press(self, key: str) -> bool:
        """Takes a key; returns False when it means the end."""
        if key == "q":
            return False
        if key in ("up", "k"):
            self._down = max(0, self._down - 1)
        elif key in ("down", "j"):
            self._down += 1
        elif key == "page-up":
            self._down = max(0, self._down - 10)
        elif key == "page-down":
            self._down += 10
        elif key in ("left", "a"):
            self._right = max(0, self._right - 4)
        elif key in ("right", "d"):
            self._right += 4
        elif key == "s":
            self._sort = (self._sort + 1) % len(_SORTS)
        return True

    def header(self) -> list[str]:
        """Returns the names of the columns."""
        path = "Route" if self._routes else "Path"
        source = [] if self._hide_sources else ["Source"]
        rest = ["Count", "Best", "Worst", "Last", "Success Rate"]
        return [*source, "Destination", "Method", path, *rest]

    def cells(self, row: Row) -> list[str]:
        """Returns the texts of a row."""
        source = [] if self._hide_sources else [row.key.source]
        texts = [*source, row.key.destination, row.key.method, row.key.path]
        return [
            *(_short(text) for text in texts),
            str(row.count),
            duration_text(row.best_s),
            duration_text(row.worst_s),
            duration_text(row.last_s),
            f"{row.success_rate * 100:.2f}%",
        ]

    def lines(self, width: int, height: int) -> list[str]:
        """Returns the picture, at most `height` lines of `width` cells."""
        rows = sorted(self.top.rows(), key=_SORTS[self._sort][1])
        room = max(1, height - 3)
        self._down = min(self._down, max(0, len(rows) - room))
        shown = rows[self._down : self._down + room]
        header = self.header()
        table = [header, *(self.cells(row) for row in shown)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        self._right = min(self._right, max(0, sum(widths) + _GAP * len(widths) - width))
        left = len(header) - 5
        if not self._right:
            widths = _fitted(widths, left, width)
        texts = [_laid_out(cells, widths, left) for cells in table]
        cut = slice(self._right, self._right + width)
        sorted_by = f"{_HINT} · {len(rows)} rows by {_SORTS[self._sort][0].lower()}"
        picture = [sorted_by[:width], "", f"{_REVERSE}{texts[0][cut].ljust(width)}{_PLAIN}"]
        for row, text in zip(shown, texts[1:], strict=True):
            failing = row.success_rate < 1
            picture.append(f"{_RED}{text[cut]}{_PLAIN}" if failing else text[cut])
        return picture[:height]


def _fitted(widths: list[int], left: int, width: int) -> list[int]:
    """Returns widths that fit into `width`: the widest of the first `left` columns give way."""
    fitted = list(widths)
    over = sum(fitted) + _GAP * (len(fitted) - 1) - width
    while over > 0:
        widest = max(range(left), key=lambda place: fitted[place])
        if fitted[widest] <= _TEXT_MIN:
            break
        fitted[widest] -= 1
        over -= 1
    return fitted


def _laid_out(cells: list[str], widths: list[int], left: int) -> str:
    return (" " * _GAP).join(
        _cut(cell, width, end=place == left - 1).ljust(width) if place < left else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )


def _cut(text: str, width: int, *, end: bool) -> str:
    """Returns what fits: of a path its end, which tells calls apart, of a name its beginning."""
    if len(text) <= width:
        return text
    return "…" + text[len(text) - width + 1 :] if end else text[: width - 1] + "…"


def _short(text: str) -> str:
    """Printable and no longer than a column may be: paths come from strangers."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return plain if len(plain) <= _TEXT_MAX else plain[: _TEXT_MAX - 1] + "…"
