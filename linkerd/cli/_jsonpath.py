r"""The JSONPath that `-o jsonpath=…` takes: kubectl's templates. Pure.

    {.source.ip} {.requestInitEvent.headers[*].name}{"\n"}
    {range .items[*]}{.metadata.name}{"\t"}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}

Source: Kubernetes docs "JSONPath Support"; client-go util/jsonpath (behaviour).
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from typing import Any

from linkerd.errors import UsageError

_STEP = re.compile(
    r"\.\.(?P<deep>[\w*/-]+)|\.(?P<field>(?:[\w*/-]|\\.)+)|\[(?P<index>-?\d+|\*)\]"
    r"|\[(?P<slice>-?\d*:-?\d*(?::-?\d*)?)\]|\[['\"](?P<quoted>[^'\"]+)['\"]\]"
    r"|\[\?\((?P<filter>(?:[^()\"']|\"[^\"]*\"|'[^']*')*)\)\]"
)
_FILTER = re.compile(r"\s*(?P<path>[^\s=!<>]+)\s*(?:(?P<sign>[=!<>]=|[<>])\s*(?P<value>.+?)\s*)?")
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}

Render = Callable[[Any], str]
Find = Callable[[Any], list[Any]]


def compile(template: str) -> Render:
    """Returns the function that fills a template with a document's values.

    Fields that a document does not have print as nothing.

    Raises:
        UsageError: the template cannot be read.
    """
    if "{" not in template:
        template = "{" + template + "}"
    open_: list[tuple[Find, list[Render]]] = [(lambda document: [document], [])]
    at = 0
    while at < len(template):
        start = template.find("{", at)
        start = len(template) if start < 0 else start
        if start > at:
            open_[-1][1].append(_constant(template[at:start]))
        if start == len(template):
            break
        end = _closing(template, start)
        text = template[start + 1 : end].strip()
        word, _, rest = text.partition(" ")
        if word == "range" and rest:
            open_.append((_path(rest.strip(), template), []))
        elif text == "end" and len(open_) > 1:
            open_[-2][1].append(_repeated(*open_.pop()))
        else:
            open_[-1][1].append(_expression(text, template))
        at = end + 1
    if len(open_) > 1:
        raise UsageError(f"jsonpath {template!r}: a range has no {{end}}")
    return _repeated(*open_[0])


def _closing(template: str, start: int) -> int:
    quote = ""
    for at in range(start + 1, len(template)):
        sign = template[at]
        if quote:
            quote = "" if sign == quote and template[at - 1] != "\\" else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "}":
            return at
    raise UsageError(f"jsonpath {template!r} has no closing brace")


def _repeated(find: Find, parts: list[Render]) -> Render:
    return lambda document: "".join(part(each) for each in find(document) for part in parts)


def _constant(text: str) -> Render:
    return lambda _: text


def _expression(text: str, template: str) -> Render:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        inner = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1])
        return _constant(inner)
    find = _path(text, template)
    return lambda document: " ".join(_text(each) for each in find(document))


def _path(text: str, template: str) -> Find:
    rest = text.removeprefix("$").removeprefix("@")
    if rest and rest[0] not in ".[":
        rest = "." + rest
    steps: list[Find] = []
    while rest and rest != ".":
        match = _STEP.match(rest)
        if match is None:
            raise UsageError(f"jsonpath {template!r}: cannot read {rest!r}")
        kind = str(match.lastgroup)
        steps.append(_step(kind, match[kind], template))
        rest = rest[match.end() :]

    def find(document: Any) -> list[Any]:
        found = [document]
        for step in steps:
            found = [inner for each in found for inner in step(each)]
        return found

    return find


def _step(kind: str, text: str, template: str) -> Find:
    match kind:
        case "deep":
            return _deep(_field(text))
        case "index" if text != "*":
            return _index(int(text))
        case "slice":
            return _slice(slice(*(int(part) if part else None for part in text.split(":"))))
        case "filter":
            chosen = _filter(text, template)
            return lambda value: [each for each in _children(value) if chosen(each)]
        case "quoted":
            return _field(text)
    return _field(re.sub(r"\\(.)", r"\1", text))


def _field(key: str) -> Find:
    if key == "*":
        return _children
    return lambda value: [value[key]] if isinstance(value, dict) and key in value else []


def _deep(here: Find) -> Find:
    def find(value: Any) -> list[Any]:
        return here(value) + [found for child in _children(value) for found in find(child)]

    return find


def _index(place: int) -> Find:
    def find(value: Any) -> list[Any]:
        inside = isinstance(value, list) and -len(value) <= place < len(value)
        return [value[place]] if inside else []

    return find


def _slice(bounds: slice) -> Find:
    return lambda value: value[bounds] if isinstance(value, list) else []


def _filter(text: str, template: str) -> Callable[[Any], bool]:
    match = _FILTER.fullmatch(text)
    if match is None:
        raise UsageError(f"jsonpath {template!r}: cannot read [?({text})]")
    find = _path(match["path"], template)
    if match["sign"] is None:
        return lambda value: bool(find(value))
    compare, wanted = _SIGNS[match["sign"]], _value(match["value"], template)

    def chosen(value: Any) -> bool:
        try:
            return any(compare(each, wanted) for each in find(value))
        except TypeError:  # a text is not less than a number
            return False

    return chosen


def _value(text: str, template: str) -> Any:
    try:
        return text[1:-1] if text[0] == text[-1] == "'" else json.loads(text)
    except ValueError:
        raise UsageError(f"jsonpath {template!r}: cannot read {text!r}") from None


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
