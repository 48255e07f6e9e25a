"""Cells and columns of the tables that viz commands print. Pure.

Source: linkerd2 viz/cmd/stat.go (formats), cli/table/table.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NONE = "-"
"""Cell of what was not measured."""

_PADDING = 3
_LINES = frozenset("├└─")


def cell(template: str, value: float | int | str | None) -> str:
    """Returns a formatted value, or `NONE`."""
    return NONE if value is None else template.format(value)


def aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    """Lays cells out in columns, the first `left` of them flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    gap = " " * _PADDING
    text = []
    for cells in lines:
        padded = [
            each.ljust(width) if place < left else each.rjust(width)
            for place, (each, width) in enumerate(zip(cells, widths, strict=True))
        ]
        text.append(gap.join(padded).rstrip() + "\n")
    return "".join(text)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a `ruled` table."""

    name: str
    left: bool = False


def ruled(columns: Sequence[Column], lines: Sequence[Sequence[str]]) -> str:
    """Lays cells out with two spaces after each column; cells of only box lines are drawn on."""
    widths = [
        max(len(column.name), *(len(line[place]) for line in lines), 0)
        for place, column in enumerate(columns)
    ]
    text = []
    for line in [[column.name for column in columns], *lines]:
        drawn = ""
        for column, width, each in zip(columns, widths, line, strict=True):
            fill = "─" if each and set(each) <= _LINES else " "
            drawn += each.ljust(width, fill) if column.left else each.rjust(width, fill)
            drawn += fill * 2
        text.append(drawn + "\n")
    return "".join(text)
