"""Objects as the `Table` that kubectl prints.

Source: Kubernetes API concepts (receiving resources as Tables); apiextensions-apiserver
pkg/registry/customresource/tableconvertor (columns of custom kinds).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from linkerd.local.apiserver.columns import AGE, COLUMNS, NAME, Column
from linkerd.local.apiserver.humane import age, at_path
from linkerd.local.apiserver.kinds import Kind
from linkerd.local.store import Obj

_API_VERSION = "meta.k8s.io/v1"


def columns(kind: Kind) -> tuple[Column, ...]:
    """Returns the columns of a kind; name and age for kinds without own ones."""
    if kind.crd is None:
        return COLUMNS.get(kind.storage, (NAME, AGE))
    declared = kind.crd.get("additionalPrinterColumns")
    return (NAME, *map(_declared, declared)) if declared else (NAME, AGE)


def _declared(column: Obj) -> Column:
    path, kind = column["jsonPath"], column["type"]

    def cell(obj: Obj, now: float) -> Any:
        found = [value for value in at_path(obj, path) if value is not None]
        if not found:
            return "" if kind != "date" else "<unknown>"
        value = found[0]
        if kind == "date":
            return age(value, now)
        if kind in ("integer", "number", "boolean") and isinstance(value, int | float):
            return value
        if isinstance(value, dict | list):
            return json.dumps(value, separators=(",", ":"))
        return ",".join(str(v) for v in found)

    return Column(
        column["name"],
        cell,
        type=kind,
        wide=bool(column.get("priority")),
        format=column.get("format", ""),
        description=column.get("description", ""),
    )


def render(
    kind: Kind, objects: Iterable[Obj], metadata: Obj, include: str, now: float, *, head: bool
) -> Obj:
    """Returns a Table.

    Args:
        kind: Of the objects.
        objects: Rows in order.
        metadata: Of the list.
        include: `Object`, `Metadata` (default) or `None`: what goes with each row.
        now: Seconds since the epoch, for ages.
        head: Whether to describe the columns; later events of a watch need not.
    """
    shown = columns(kind)
    return {
        "kind": "Table",
        "apiVersion": _API_VERSION,
        "metadata": metadata,
        "columnDefinitions": [_definition(column) for column in shown] if head else None,
        "rows": [_row(obj, shown, include, now) for obj in objects],
    }


def _definition(column: Column) -> Obj:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": 1 if column.wide else 0,
    }


def _row(obj: Obj, shown: tuple[Column, ...], include: str, now: float) -> Obj:
    row: Obj = {"cells": [_cell(column, obj, now) for column in shown]}
    if include == "Object":
        row["object"] = obj
    elif include != "None":
        row["object"] = partial(obj)
    return row


def _cell(column: Column, obj: Obj, now: float) -> Any:
    try:
        return column.cell(obj, now)
    except (AttributeError, KeyError, TypeError, ValueError):
        # A field of an unexpected type must not hide the other rows.
        return "<invalid>"


def partial(obj: Obj) -> Obj:
    """Returns an object's metadata as a PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": _API_VERSION,
        "metadata": obj["metadata"],
    }
