"""Manifests that the user names: a file, a folder, `-` or an https address, as documents."""

from __future__ import annotations

import os
import sys
from typing import Any

from linkerd.errors import RenderError, UsageError

_BYTES_MAX = 64 << 20
_TIMEOUT_S = 30.0
_SUFFIXES = (".yaml", ".yml", ".json")


def texts(source: str) -> list[str]:
    """Returns the text of each file that `source` means; folders are read recursively.

    Raises:
        UsageError: it is not there or cannot be read; addresses must be https.
    """
    if source == "-":
        return [sys.stdin.read()]
    if "://" in source:
        return [_fetch(source)]
    if not os.path.isdir(source):
        return [_read(source)]
    files = [
        os.path.join(folder, name)
        for folder, _, names in sorted(os.walk(source))
        for name in sorted(names)
        if name.endswith(_SUFFIXES)
    ]
    if not files:
        raise UsageError(f"no YAML or JSON file in {source}")
    return [_read(file) for file in files]


def objects(source: str) -> list[dict[str, Any]]:
    """Returns the objects of all documents, members of lists one by one.

    Raises:
        UsageError: as `texts`.
        RenderError: a document is not YAML or not an object.
    """
    from linkerd.inject import manifest

    found: list[dict[str, Any]] = []
    for text in texts(source):
        for body in manifest.parse_all(text):
            members = body.get("items") if _is_list(body) else [body]
            for member in members or ():
                _require_object(member, source)
                found.append(member)
    if not found:
        raise UsageError(f"no objects in {'stdin' if source == '-' else source}")
    return found


def _is_list(body: Any) -> bool:
    return isinstance(body, dict) and str(body.get("kind", "")).endswith("List") and "items" in body


def _require_object(body: Any, source: str) -> None:
    if not isinstance(body, dict):
        raise RenderError(f"{source}: a document is {type(body).__name__}, not an object")
    name = (body.get("metadata") or {}).get("name")
    for key, value in (
        ("apiVersion", body.get("apiVersion")),
        ("kind", body.get("kind")),
        ("metadata.name", name),
    ):
        if not value:
            raise RenderError(f"{source}: {body.get('kind') or 'an object'} has no {key}")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {path}: not UTF-8 text") from None


def _fetch(url: str) -> str:
    import urllib.error
    import urllib.request

    if not url.startswith("https://"):
        raise UsageError("only HTTPS URLs are allowed")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            data: bytes = response.read(_BYTES_MAX)
            return data.decode()
    except urllib.error.HTTPError as error:
        raise UsageError(f'unable to read URL "{url}", status code {error.code}') from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UsageError(f'unable to read URL "{url}": {reason}') from None
