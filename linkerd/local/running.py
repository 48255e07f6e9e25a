"""What is left of a running cluster in its folder, and how its processes are started.

<state>/pids/   lock (held while it runs), port, <process>.pid
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from linkerd.local import unprivileged
from linkerd.local.paths import Paths

PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


def clean(paths: Paths) -> None:
    """Removes what only means something while the cluster runs."""
    for file in (
        paths.node_sock,
        paths.state / "node" / "zygote.sock",
        *paths.pids.glob("*"),
    ):
        with contextlib.suppress(OSError):
            file.unlink()
    for folder in ("root", "memory", "pods"):
        with contextlib.suppress(OSError):
            unprivileged.remove(paths.state / "node" / folder)


def read_number(path: Path) -> int:
    """Returns the number in a file, 0 if there is none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def read_lines(path: Path) -> list[str]:
    """Returns a file's lines, none if there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def write_atomically(path: Path, text: str) -> None:
    """Writes a file that readers see whole or not at all.

    Raises:
        OSError: the disk refused.
    """
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def command(module: str, *args: str) -> list[str]:
    """Returns the command that runs one of our modules."""
    return [sys.executable, "-m", module, *args]


def environment() -> dict[str, str]:
    """Returns a process's environment: enough to find Python and this package."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TZ")}
    return {**kept, "PYTHONPATH": PACKAGE_ROOT, "PYTHONSAFEPATH": "1"}
