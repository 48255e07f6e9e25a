"""Label and field selectors: text → a predicate over labels or an object.

Source: Kubernetes apimachinery/pkg/labels/selector.go, pkg/fields/selector.go (grammar).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from linkerd.local.apiserver.status import bad_request
from linkerd.local.store import Obj

_TERM = re.compile(
    r"""\s*(?:
        (?P<absent>!)\s*(?P<akey>[\w./-]+)
      | (?P<skey>[\w./-]+)\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\)
      | (?P<key>[\w./-]+)\s*(?P<op>==|=|!=|>|<)\s*(?P<value>[\w.-]*)
      | (?P<ekey>[\w./-]+)
    )\s*(?:,|$)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Term:
    """One requirement: `op` is in, notin, exists, absent, gt or lt."""

    key: str
    op: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet this requirement."""
        value = labels.get(self.key)
        match self.op:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
        return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        try:
            number, bound = int(value), int(next(iter(self.values)))
        except ValueError:
            return False
        return number > bound if self.op == "gt" else number < bound


@dataclass(frozen=True, slots=True)
class Labels:
    """A label selector: all terms must match; without terms everything does."""

    terms: tuple[Term, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(term.matches(labels) for term in self.terms)


def parse_labels(text: str) -> Labels:
    """Returns the selector written as `app=web,tier in (a, b),!legacy`.

    Raises:
        ApiError: 400, the text is no selector.
    """
    terms: list[Term] = []
    at = 0
    text = text.strip()
    while at < len(text):
        found = _TERM.match(text, at)
        if not found:
            raise bad_request(
                f'unable to parse requirement: "{text}" is no label selector at {text[at:]!r}'
            )
        terms.append(_term(found))
        at = found.end()
    return Labels(tuple(terms))


def _term(found: re.Match[str]) -> Term:
    if found["absent"]:
        return Term(found["akey"], "absent")
    if found["set"]:
        values = frozenset(value.strip() for value in found["values"].split(","))
        return Term(found["skey"], found["set"], values)
    if found["ekey"]:
        return Term(found["ekey"], "exists")
    op = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}[found["op"]]
    return Term(found["key"], op, frozenset({found["value"]}))


def from_object(selector: Obj | None) -> Labels:
    """Returns the selector written as `{matchLabels, matchExpressions}`; None matches nothing."""
    if selector is None:
        return Labels((Term("", "in"),))
    terms = [
        Term(key, "in", frozenset({value}))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    names = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    for expression in selector.get("matchExpressions") or []:
        values = frozenset(expression.get("values") or ())
        terms.append(Term(expression["key"], names[expression["operator"]], values))
    return Labels(tuple(terms))


@dataclass(frozen=True, slots=True)
class Fields:
    """A field selector: (path, must equal, value) terms over an object."""

    terms: tuple[tuple[str, bool, str], ...] = ()

    def matches(self, obj: Obj) -> bool:
        """Whether the object is selected."""
        return all((field(obj, path) == value) == equal for path, equal, value in self.terms)

    @property
    def name(self) -> str | None:
        """The one name that can match, when the selector says `metadata.name=…`."""
        for path, equal, value in self.terms:
            if path == "metadata.name" and equal:
                return value
        return None


def parse_fields(text: str, known: Callable[[str], bool]) -> Fields:
    """Returns the selector written as `status.phase=Running,spec.nodeName!=a`.

    Args:
        text: The selector.
        known: Whether the kind can be selected by a path.

    Raises:
        ApiError: 400, no selector or an unknown path.
    """
    terms: list[tuple[str, bool, str]] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        found = re.fullmatch(r"([\w.\[\]/-]+)(==|!=|=)(.*)", part)
        if not found:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        path, op, value = found.groups()
        if not known(path):
            raise bad_request(f'field label not supported: "{path}"')
        terms.append((path, op != "!=", value))
    return Fields(tuple(terms))


def field(obj: Any, path: str) -> str:
    """Returns the value at a dotted path as text; "" when it is not set."""
    for part in path.strip(".").split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    if obj is None:
        return ""
    if isinstance(obj, bool):
        return "true" if obj else "false"
    return str(obj)
