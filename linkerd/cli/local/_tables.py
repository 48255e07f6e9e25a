"""Tables as the API server sends them (meta.k8s.io/v1 Table), as text.

Source: Kubernetes apimachinery pkg/apis/meta/v1 Table; kubectl's layout of columns.
"""

from __future__ import annotations

from typing import Any

_GAP = "   "


def render(table: dict[str, Any], *, wide: bool = False, namespaces: bool = False) -> str:
    """Returns the table's text, a header first; empty without rows.

    Args:
        table: The server's answer.
        wide: Show columns of lower priority too.
        namespaces: Begin each row with its object's namespace.
    """
    rows = table.get("rows") or []
    if not rows:
        return ""
    columns = [
        (place, column["name"].upper())
        for place, column in enumerate(table["columnDefinitions"])
        if wide or not column.get("priority")
    ]
    header = [name for _, name in columns]
    lines = [[_cell(row["cells"][place]) for place, _ in columns] for row in rows]
    if namespaces and any(_namespace(row) for row in rows):
        header.insert(0, "NAMESPACE")
        for line, row in zip(lines, rows, strict=True):
            line.insert(0, _namespace(row))
    return aligned([header, *lines])


def aligned(lines: list[list[str]]) -> str:
    """Returns lines of cells in flush left columns, each line ended."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = (
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "".join(f"{line}\n" for line in text)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "<none>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _namespace(row: dict[str, Any]) -> str:
    metadata = (row.get("object") or {}).get("metadata") or {}
    return str(metadata.get("namespace") or "")
