"""Compares a text with the file that holds what is expected; UPDATE_GOLDEN=1 writes the file."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(__file__).parent / "files"


def check(name: str, actual: str) -> None:
    """Asserts that `actual` is what tests/golden/files/`name` holds."""
    path = _FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(actual)
    assert path.is_file(), f"{name} does not exist: run `make golden` and read what it wrote"
    assert path.read_text() == actual
