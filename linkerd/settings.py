"""Flags and environment → one frozen dataclass per program, in one pure step.

A program declares its settings as a frozen dataclass whose fields carry `setting(...)`:

    @dataclass(frozen=True)
    class Settings:
        addr: str = setting(":8086", "address of the gRPC server")
        log_level: str = setting("info", "least severe level that is logged", choices=LEVELS)

`parse(Settings, argv)` accepts `-addr=:8086`, `--addr :8086` and, for booleans, `-flag` and
`-flag=false`, because charts written for Linkerd use Go's flag style. All problems are reported
at once in one `SettingsError`.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from linkerd.errors import SettingsError

T = TypeVar("T")

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_DURATION_UNIT_S = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}


def setting(
    default: Any,
    help: str,
    *,
    parse: Callable[[str], Any] | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """Declares one field of a settings dataclass.

    Args:
        default: Value when the flag is absent.
        help: What it does, with its unit; shown by `--help`.
        parse: Text → value; raises ValueError with what was expected. Default: by type.
        choices: Allowed texts; empty allows all.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "parse": parse, "choices": tuple(choices)}
    )


def duration_s(text: str) -> float:
    """Returns the seconds in a Go duration such as `1h30m`, `24h0m0s` or `500ms`.

    Raises:
        ValueError: `text` is no such duration.
    Source: Go time.ParseDuration (without signs).
    """
    if text == "0":
        return 0.0
    parts = list(_DURATION_PART.finditer(text))
    if not parts or "".join(part.group(0) for part in parts) != text:
        raise ValueError("a duration such as 500ms, 20s or 24h0m0s")
    return sum(float(part.group(1)) * _DURATION_UNIT_S[part.group(2)] for part in parts)


def address(text: str) -> tuple[str, int]:
    """Returns host and port of `host:port`, `:port` or `[::1]:port`; no host means all addresses.

    Raises:
        ValueError: there is no port, or it is not 0..65535.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("an address such as :8086 or 127.0.0.1:8086")
    return host.strip("[]") or "0.0.0.0", int(port)


def parse(cls: type[T], argv: Sequence[str]) -> T:
    """Returns `cls` filled from flags.

    Raises:
        SettingsError: any flag is unknown, lacks a value or has a wrong one; lists them all.
    """
    fields = {f.name.replace("_", "-"): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    problems: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, text = word.lstrip("-").partition("=")
        field = fields.get(flag)
        if not word.startswith("-") or field is None:
            problems.append(f"{word}: no such flag")
            continue
        kind = _plain_type(hints[field.name])
        if not equals:
            if kind is bool:
                text = "true"
            elif words:
                text = words.pop(0)
            else:
                problems.append(f"--{flag}: expected a value")
                continue
        try:
            values[field.name] = _value(field, kind, text)
        except ValueError as error:
            problems.append(f"--{flag}={text}: expected {error}")
    if problems:
        raise SettingsError("\n".join(problems), hint="--help lists the flags")
    return cls(**values)


def usage(cls: type[Any], program: str) -> str:
    """Returns the text of `--help` for a settings dataclass."""
    lines = [f"usage: {program} [flags]", ""]
    for field in dataclasses.fields(cls):
        flag = "--" + field.name.replace("_", "-")
        lines.append(f"  {flag:34} {field.metadata.get('help', '')} [{field.default}]")
    return "\n".join(lines)


def _plain_type(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        return next(arg for arg in typing.get_args(hint) if arg is not type(None))
    return hint


def _value(field: dataclasses.Field[Any], kind: Any, text: str) -> Any:
    choices = field.metadata["choices"]
    if choices and text not in choices:
        raise ValueError("one of " + ", ".join(choices))
    custom = field.metadata["parse"]
    if custom is not None:
        return custom(text)
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError("true or false")
        return text == "true"
    if kind is int:
        if not re.fullmatch(r"-?\d+", text):
            raise ValueError("a whole number")
        return int(text)
    if kind is float:
        try:
            return float(text)
        except ValueError:
            raise ValueError("a number") from None
    return text
