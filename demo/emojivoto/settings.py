"""What the programs take from the environment, under the original's names.

Source: BuoyantIO/emojivoto emojivoto-{web,emoji-svc,voting-svc}/cmd (names, defaults).
"""

from __future__ import annotations

import os
import re
import sys

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def required(name: str) -> str:
    """Returns a variable, or leaves the process with a sentence that names it."""
    value = os.environ.get(name, "")
    if not value:
        sys.exit(f"{name} must be set")
    return value


def port(name: str, default: int | None = None) -> int:
    """Returns a port; 0 means any."""
    text = required(name) if default is None else os.environ.get(name) or str(default)
    if not text.isdigit() or int(text) > 65535:
        sys.exit(f"{name}={text}: expected a port")
    return int(text)


def number(name: str, default: float) -> float:
    """Returns a number."""
    text = os.environ.get(name, "")
    try:
        return float(text) if text else default
    except ValueError:
        sys.exit(f"{name}={text}: expected a number")


def duration_s(name: str) -> float:
    """Returns the seconds of a Go duration such as `100ms`; unset is 0."""
    text = os.environ.get(name, "")
    parts = _PART.findall(text)
    if "".join(amount + unit for amount, unit in parts) != text:
        sys.exit(f"{name}={text}: expected a duration such as 100ms")
    return sum(float(amount) * _UNIT_S[unit] for amount, unit in parts)
