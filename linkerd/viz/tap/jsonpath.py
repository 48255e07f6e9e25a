r"""The JSONPath that `-o jsonpath=…` takes: kubectl's templates, without filters and slices. Pure.

    {.source.ip} {.requestInitEvent.headers[*].name}{"\n"}

Source: Kubernetes docs "JSONPath Support".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from linkerd.errors import UsageError

_STEP = re.compile(
    r"\.\.(?P<deep>[\w*-]+)|\.(?P<field>(?:[\w*-]|\\.)+)|\[(?P<index>-?\d+|\*)\]"
    r"|\[['\"](?P<quoted>[^'\"]+)['\"]\]"
)
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}

Render = Callable[[Any], str]


def compile(template: str) -> Render:
    """Returns the function that fills a template with a document's values.

    Fields that a document does not have print as nothing.

    Raises:
        UsageError: the template cannot be read.
    """
    if "{" not in template:
        template = "{" + template + "}"
    parts: list[Render] = []
    at = 0
    while at < len(template):
        start = template.find("{", at)
        if start < 0:
            start = len(template)
        if start > at:
            parts.append(_constant(template[at:start]))
        if start == len(template):
            break
        end = template.find("}", start)
        if end < 0:
            raise UsageError(f"jsonpath {template!r} has no closing brace")
        parts.append(_expression(template[start + 1 : end].strip(), template))
        at = end + 1
    return lambda document: "".join(part(document) for part in parts)


def _constant(text: str) -> Render:
    return lambda _: text


def _expression(text: str, template: str) -> Render:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        inner = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1])
        return _constant(inner)
    rest = text.removeprefix("$").removeprefix("@")
    if rest and rest[0] not in ".[":
        rest = "." + rest
    steps: list[tuple[str, str]] = []
    while rest and rest != ".":
        match = _STEP.match(rest)
        if match is None:
            raise UsageError(f"jsonpath {template!r}: cannot read {rest!r}")
        for kind, value in match.groupdict().items():
            if value is not None:
                plain = re.sub(r"\\(.)", r"\1", value) if kind == "field" else value
                steps.append((kind, plain))
        rest = rest[match.end() :]

    def render(document: Any) -> str:
        found = [document]
        for kind, value in steps:
            found = [inner for each in found for inner in _step(each, kind, value)]
        return " ".join(_text(each) for each in found)

    return render


def _step(value: Any, kind: str, key: str) -> list[Any]:
    if kind == "deep":
        children = list(_children(value))
        here = _step(value, "field", key)
        return here + [found for child in children for found in _step(child, "deep", key)]
    if key == "*":
        return list(_children(value))
    if kind == "index":
        place = int(key)
        inside = isinstance(value, list) and -len(value) <= place < len(value)
        return [value[place]] if inside else []
    return [value[key]] if isinstance(value, dict) and key in value else []


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
