"""Kubernetes manifests as text: YAML documents in, values out, and back.

The reader resolves plain scalars as Kubernetes does, not as PyYAML's default does: `1e3` is a
number, `12:30` and dates are strings, `0x1F` and `0o17` are integers. Does no checking of kinds.
Source: kubernetes-sigs/yaml (behaviour of its decoder).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from linkerd.errors import RenderError

_LOADER_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER_BASE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0[0-7]+|0o[0-7]+|0x[0-9a-fA-F]+|0b[01]+)")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_REPLACED = {
    "tag:yaml.org,2002:int": (re.compile(rf"^(?:{_INT.pattern})$"), "-+0123456789"),
    "tag:yaml.org,2002:float": (re.compile(rf"^(?:{_FLOAT.pattern})$"), "-+0123456789."),
}
_DROPPED = {*_REPLACED, "tag:yaml.org,2002:timestamp"}


def parse_all(text: str) -> Iterator[Any]:
    """Yields the value of each YAML document of `text`; empty documents are skipped.

    Raises:
        RenderError: `text` is not YAML; names the line.
    """
    try:
        for value in yaml.load_all(text, Loader=_Loader):
            if value is not None:
                yield value
    except yaml.YAMLError as error:
        raise RenderError(f"error converting YAML to JSON: {_one_line(error)}") from None


def parse(text: str) -> Any:
    """Returns the first YAML document of `text`, None when there is none.

    Raises:
        RenderError: `text` is not YAML; names the line.
    """
    return next(parse_all(text), None)


def render(value: Any) -> str:
    """Returns one YAML document with a final newline; map keys sorted, long lines kept whole.

    Source: kubernetes-sigs/yaml Marshal (sorted keys, two spaces, literal blocks, double quotes
    around strings that look like another type).
    """
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        allow_unicode=True,
        default_flow_style=False,
        sort_keys=True,
        width=1 << 30,
    )
    return text.removesuffix("...\n")


def render_all(values: Iterable[Any]) -> str:
    """Returns the documents separated by `---` lines."""
    return "---\n".join(render(value) for value in values)


class _Loader(_LOADER_BASE):  # type: ignore[misc]
    pass


class _Dumper(_DUMPER_BASE):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        """Writes shared values out again: manifests carry no anchors."""
        return True


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    kept = {
        first: [pair for pair in pairs if pair[0] not in _DROPPED]
        for first, pairs in _LOADER_BASE.yaml_implicit_resolvers.items()
    }
    for tag, (pattern, firsts) in _REPLACED.items():
        for first in firsts:
            kept.setdefault(first, []).append((tag, pattern))
    return kept


def _construct_int(_loader: Any, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "")
    digits = text.lstrip("+-")
    sign = -1 if text.startswith("-") else 1
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _construct_float(_loader: Any, node: yaml.ScalarNode) -> float | int:
    text = node.value.replace("_", "").lower()
    value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    # JSON knows one kind of number: 1e3 is the integer 1000.
    return int(value) if value.is_integer() and abs(value) < 1 << 53 and "." not in text else value


def _represent_str(dumper: Any, value: str) -> Any:
    style = "|" if "\n" in value else '"' if _looks_typed(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _looks_typed(text: str) -> bool:
    """Whether a plain scalar would be read as something else than a string."""
    resolvers = _Dumper.yaml_implicit_resolvers
    candidates = (*resolvers.get(text[:1], ()), *resolvers.get(None, ()))
    return any(pattern.match(text) for _, pattern in candidates)


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"yaml: line {mark.line + 1}: {problem}" if mark else f"yaml: {problem}"


_Loader.yaml_implicit_resolvers = _resolvers()
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
# What either reader takes for something else than a string is quoted when written.
_Dumper.yaml_implicit_resolvers = {
    first: [
        *_DUMPER_BASE.yaml_implicit_resolvers.get(first, []),
        *_Loader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*_DUMPER_BASE.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}
_Dumper.add_representer(str, _represent_str)
