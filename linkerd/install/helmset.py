"""Helm's `--set` language: `a.b=c,d[0]=e,f={x,y}` → values.

Source: helm/helm pkg/strvals (grammar and typing).
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from linkerd.errors import UsageError

_INDEX_MAX = 65535
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


def apply(values: dict[str, Any], text: str, *, strings: bool = False) -> None:
    r"""Lays the assignments of one `--set` (or `--set-string`) argument over `values` in place.

    `null` is None, which removes a chart's default; `true`, `false` and whole numbers are typed
    unless `strings`; everything else is a string. `\` quotes `,`, `.`, `=` and braces.

    Raises:
        UsageError: the text is no assignment; names it.
    """
    for path_text, value_text in _assignments(text):
        _assign(values, _path(path_text, text), _value(value_text, strings))


def assign(values: dict[str, Any], path: str, value: Any) -> None:
    """Sets one dotted path in place; used for `--set-file` and for flags that map to a value."""
    _assign(values, _path(path, path), value)


def _assignments(text: str) -> list[tuple[str, str]]:
    found = []
    for part in _split(text, ","):
        pieces = _split(part, "=", 1)
        if len(pieces) != 2 or not pieces[0].strip():
            raise UsageError(f"failed parsing --set data: key {part!r} has no value")
        found.append((pieces[0], pieces[1]))
    return found


def _path(text: str, whole: str) -> list[str | int]:
    path: list[str | int] = []
    for piece in _split(text, "."):
        name, *indices = re.split(r"\[(\d+)\]", _unquote(piece))
        if not name:
            raise UsageError(f"failed parsing --set data: {whole!r} has an empty key")
        path.append(name)
        for index in indices:
            if index.isdigit():
                if int(index) > _INDEX_MAX:
                    raise UsageError(f"failed parsing --set data: index {index} is too large")
                path.append(int(index))
    return path


def _value(text: str, strings: bool) -> Any:
    if text.startswith("{") and text.endswith("}"):
        inner = text[1:-1]
        return [_scalar(one, strings) for one in _split(inner, ",")]
    return _scalar(text, strings)


def _scalar(text: str, strings: bool) -> Any:
    if not strings:
        if text in ("true", "false"):
            return text == "true"
        if text == "null":
            return None
        if _INTEGER.fullmatch(text):
            return int(text)
    return _unquote(text)


def _assign(values: dict[str, Any], path: list[str | int], value: Any) -> None:
    at: Any = values
    for step, following in itertools.pairwise(path):
        fresh: Any = [] if isinstance(following, int) else {}
        below = _get(at, step)
        if not isinstance(below, type(fresh)):
            below = fresh
        _put(at, step, below)
        at = below
    _put(at, path[-1], value)


def _get(at: Any, step: str | int) -> Any:
    if isinstance(at, list):
        return at[step] if isinstance(step, int) and step < len(at) else None
    return at.get(step)


def _put(at: Any, step: str | int, value: Any) -> None:
    if isinstance(at, list) and isinstance(step, int):
        at.extend([None] * (step + 1 - len(at)))
    at[step] = value


def _split(text: str, separator: str, times: int = -1) -> list[str]:
    """Splits at separators that are neither quoted by a backslash nor inside braces."""
    parts: list[str] = []
    current, depth, index = "", 0, 0
    while index < len(text):
        char = text[index]
        if char == "\\" and index + 1 < len(text):
            current += text[index : index + 2]
            index += 2
            continue
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == separator and depth <= 0 and (times < 0 or len(parts) < times):
            parts.append(current)
            current = ""
        else:
            current += char
        index += 1
    return [*parts, current]


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
