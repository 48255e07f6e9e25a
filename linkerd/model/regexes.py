"""Whether a regular expression is one that proxies understand.

Proxies compile them with Rust's `regex`, which knows no look-around and no back-references. This
is a careful approximation with Python's engine: what passes here compiles there but for oddities,
so that one bad expression does not take a whole policy out of service.
Source: docs.rs/regex (syntax).
"""

from __future__ import annotations

import re
import warnings

LENGTH_MAX = 4096

_UNSUPPORTED = re.compile(r"\(\?(?:[=!>(]|<[=!]|P=|P>|#)")
_BACK_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]")
_TRANSLATIONS = (
    (re.compile(r"\\[pP](?:\{[^}]*\}|[A-Za-z])"), r"\\w"),
    (re.compile(r"\[:\^?[a-z]+:\]"), "a-z"),
    (re.compile(r"\\z"), r"\\Z"),
    (re.compile(r"\\[CXR]"), "."),
    (re.compile(r"\\x\{[0-9a-fA-F]+\}"), "x"),
    (re.compile(r"\(\?<(?=[A-Za-z_])"), "(?P<"),
    (re.compile(r"\(\?[imsUuxR]*(?:-[imsUuxR]+)?:"), "(?:"),
    (re.compile(r"\(\?[imsUuxR]*(?:-[imsUuxR]+)?\)"), ""),
)


def problem(pattern: str) -> str | None:
    """Returns what is wrong with a pattern, None if proxies can use it."""
    if len(pattern) > LENGTH_MAX:
        return f"longer than {LENGTH_MAX} characters"
    found = _UNSUPPORTED.search(pattern)
    if found is not None:
        return f"{found.group(0)} is not supported"
    if _BACK_REFERENCE.search(pattern):
        return "back-references are not supported"
    for known, replacement in _TRANSLATIONS:
        pattern = known.sub(replacement, pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nested sets, which Rust has and Python will have
            re.compile(pattern)
    except (re.error, OverflowError) as error:
        return str(error)
    return None
