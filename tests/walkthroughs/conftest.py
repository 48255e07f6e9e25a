"""One terminal per document, and what the documents take for granted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.walkthroughs.terminal import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal; no cluster runs yet."""
    if os.geteuid() != 0:
        pytest.skip("the cluster makes namespaces as root")
    for program in ("curl", "openssl", "script"):
        if shutil.which(program) is None:
            pytest.skip(f"the documents use {program}, which is not installed")
    terminal = Terminal(tmp_path)
    try:
        yield terminal
    finally:
        terminal.close()
