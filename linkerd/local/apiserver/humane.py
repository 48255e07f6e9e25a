"""Times, lists and paths as tables show them.

Source: Kubernetes apimachinery/pkg/util/duration/duration.go; client-go/util/jsonpath (subset).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Any

_PART = re.compile(
    r"""\.?([\w\0-]+)|\[(\d+|\*)\]|\[\?\(@\.([\w.-]+)\s*==\s*["']([^"']*)["']\)\]|\['([^']+)'\]"""
)


def seconds_since(timestamp: str | None, now: float) -> float | None:
    """Returns the seconds from an RFC 3339 time to `now`, None when there is none."""
    if not timestamp:
        return None
    try:
        return now - datetime.datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return None


def age(timestamp: str | None, now: float) -> str:
    """Returns how long ago a time was, such as `5m30s`; `<unknown>` without one."""
    seconds = seconds_since(timestamp, now)
    return "<unknown>" if seconds is None else duration(seconds)


def duration(seconds: float) -> str:
    """Returns a length of time in at most two units, coarser the longer it is."""
    s = int(seconds)
    if s < -1:
        return "<invalid>"
    s = max(s, 0)
    if s < 120:
        return f"{s}s"
    m = s // 60
    if m < 10:
        return _two(m, "m", s % 60, "s")
    if m < 180:
        return f"{m}m"
    h = s // 3600
    if h < 8:
        return _two(h, "h", m % 60, "m")
    if h < 48:
        return f"{h}h"
    d = h // 24
    if d < 8:
        return _two(d, "d", h % 24, "h")
    if d < 730:
        return f"{d}d"
    y = d // 365
    return _two(y, "y", d % 365, "d") if y < 8 else f"{y}y"


def _two(major: int, unit: str, minor: int, small: str) -> str:
    return f"{major}{unit}{minor}{small}" if minor else f"{major}{unit}"


def joined(items: Iterable[Any], empty: str = "<none>", most: int = 0) -> str:
    """Returns items separated by commas; beyond `most` they are counted."""
    texts = [str(item) for item in items if item not in (None, "")]
    if not texts:
        return empty
    if most and len(texts) > most:
        return ",".join(texts[:most]) + f" + {len(texts) - most} more..."
    return ",".join(texts)


def pairs(labels: dict[str, str] | None) -> str:
    """Returns labels as `a=b,c=d`, `<none>` without any."""
    return joined(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def at_path(obj: Any, path: str) -> list[Any]:
    """Returns the values at a JSON path of the kind that printer columns use.

    Understands names, `[n]`, `[*]`, `['name']` and `[?(@.field=="value")]`.
    """
    found = [obj]
    text = path.strip().strip("{}").replace("\\.", "\0")
    for match in _PART.finditer(text):
        name, index, key, wanted, quoted = match.groups()
        name = (name or quoted or "").replace("\0", ".")
        step: list[Any] = []
        for value in found:
            if name and isinstance(value, dict) and name in value:
                step.append(value[name])
            elif index == "*" and isinstance(value, list):
                step += value
            elif index and index != "*" and isinstance(value, list) and int(index) < len(value):
                step.append(value[int(index)])
            elif key and isinstance(value, list):
                step += [
                    item
                    for item in value
                    if isinstance(item, dict) and str(item.get(key)) == wanted
                ]
        found = step
    return found
