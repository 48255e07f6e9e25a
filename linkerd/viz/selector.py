"""Label selectors as users write them after `-l`.

Source: Kubernetes apimachinery pkg/labels/selector.go (grammar).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from linkerd.errors import UsageError

Selector = Callable[[Mapping[str, str]], bool]
"""Whether labels match."""

_SET = re.compile(r"^([\w./-]+)\s+(in|notin)\s*\(([^()]*)\)$")
_EQUALS = re.compile(r"^([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)$")
_EXISTS = re.compile(r"^(!?)\s*([\w./-]+)$")
_COMMA = re.compile(r",(?![^()]*\))")


def parse(text: str) -> Selector:
    """Returns the selector in `text`; an empty text matches everything.

    Raises:
        UsageError: a requirement is not of the grammar.
    """
    if not text.strip():
        return lambda labels: True
    requirements = [_requirement(part.strip()) for part in _COMMA.split(text)]
    return lambda labels: all(matches(labels) for matches in requirements)


def _requirement(text: str) -> Selector:
    if found := _SET.match(text):
        key, operator, listed = found.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUALS.match(text):
        key, operator, value = found.groups()
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.match(text):
        absent, key = found.groups()
        return lambda labels: (key in labels) != bool(absent)
    raise UsageError(f"cannot parse label selector requirement {text!r}")
