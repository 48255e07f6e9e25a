"""JSON Patch: the operations that injection makes, built and applied.

Knows `add`, `replace` and `remove`, which is all that injection needs.
Source: RFC 6902, RFC 6901 (escapes).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from linkerd.errors import RenderError

Operation = dict[str, Any]


def add(path: str, value: Any) -> Operation:
    """Returns the operation that puts `value` at `path`."""
    return {"op": "add", "path": path, "value": value}


def escape(key: str) -> str:
    """Returns one key as part of a path."""
    return key.replace("~", "~0").replace("/", "~1")


def apply(document: Any, operations: Iterable[Operation]) -> Any:
    """Returns a copy of `document` with the operations applied.

    Raises:
        RenderError: a path does not exist or an operation is unknown.
    """
    root = {"": copy.deepcopy(document)}
    for operation in operations:
        _apply(root, operation)
    return root[""]


def _apply(root: dict[str, Any], operation: Operation) -> None:
    path, kind = operation["path"], operation["op"]
    steps = ["", *(step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:])]
    at: Any = root
    try:
        for step in steps[:-1]:
            at = at[int(step)] if isinstance(at, list) else at[step]
        last = steps[-1]
        if isinstance(at, list):
            _apply_to_list(at, last, kind, operation.get("value"))
        elif kind == "remove":
            del at[last]
        elif kind in ("add", "replace"):
            at[last] = copy.deepcopy(operation["value"])
        else:
            raise RenderError(f"unknown JSON patch operation {kind!r}")
    except (KeyError, IndexError, ValueError, TypeError):
        raise RenderError(f"JSON patch path {path!r} does not exist") from None


def _apply_to_list(at: list[Any], step: str, kind: str, value: Any) -> None:
    index = len(at) if step == "-" else int(step)
    if not 0 <= index <= len(at):
        raise IndexError(step)
    if kind == "remove":
        del at[index]
    elif kind == "replace":
        at[index] = copy.deepcopy(value)
    else:
        at.insert(index, copy.deepcopy(value))
