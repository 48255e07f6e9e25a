"""Tables as the API server sends them (meta.k8s.io/v1 Table), as text.

Source: Kubernetes apimachinery pkg/apis/meta/v1 Table; kubectl's layout of columns.
"""

from __future__ import annotations

from typing import Any

_GAP = "   "


def render(
    table: dict[str, Any],
    *,
    wide: bool = False,
    namespaces: bool = False,
    labels: bool = False,
    header: bool = True,
    widths: list[int] | None = None,
) -> str:
    """Returns the table's text, a header first; empty without rows.

    Args:
        table: The server's answer.
        wide: Show columns of lower priority too.
        namespaces: Begin each row with its object's namespace.
        labels: End each row with its object's labels.
        header: Whether the titles are shown.
        widths: Of the columns so far, kept for the rows to come; None where none come.
    """
    rows = table.get("rows") or []
    if not rows:
        return ""
    columns = [
        (place, column["name"].upper())
        for place, column in enumerate(table["columnDefinitions"])
        if wide or not column.get("priority")
    ]
    lines = [[name for _, name in columns]]
    lines += [[_cell(row["cells"][place]) for place, _ in columns] for row in rows]
    if namespaces and any(_namespace(row) for row in rows):
        for line, cell in zip(lines, ["NAMESPACE", *map(_namespace, rows)], strict=True):
            line.insert(0, cell)
    if labels:
        for line, cell in zip(lines, ["LABELS", *map(_labels, rows)], strict=True):
            line.append(cell)
    text = aligned(lines, widths)
    return text if header else text.partition("\n")[2]


def aligned(lines: list[list[str]], widths: list[int] | None = None) -> str:
    """Returns lines of cells in flush left columns, each line ended.

    Args:
        lines: Cells, as many in each.
        widths: At least so wide; what they grew to is written back.
    """
    kept = [] if widths is None else widths
    least = kept or [0] * len(lines[0])
    kept[:] = [max(at, *map(len, column)) for at, *column in zip(least, *lines, strict=True)]
    text = (
        _GAP.join(cell.ljust(width) for cell, width in zip(line, kept, strict=True)).rstrip()
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


def _labels(row: dict[str, Any]) -> str:
    metadata = (row.get("object") or {}).get("metadata") or {}
    pairs = (f"{key}={value}" for key, value in sorted((metadata.get("labels") or {}).items()))
    return ",".join(pairs) or "<none>"
