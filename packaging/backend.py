"""The build backend: maturin, after the dashboard was bundled.

maturin builds the wheel of the Python package and the proxy but runs nothing before, so that
`pip install .` from a checkout would ship no dashboard. An sdist carries the bundle and needs no
npm. Source: PEP 517, PEP 660.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

_ROOT = Path(__file__).resolve().parent.parent
_WEB = _ROOT / "web"
_BUNDLE = _ROOT / "linkerd" / "viz" / "static" / "index.html"


def build_wheel(*args: Any, **options: Any) -> str:
    """Bundles the dashboard and builds the wheel; returns its file name."""
    _bundle()
    name: str = maturin.build_wheel(*args, **options)
    return name


def build_sdist(*args: Any, **options: Any) -> str:
    """Bundles the dashboard and builds the sdist; returns its file name."""
    _bundle()
    name: str = maturin.build_sdist(*args, **options)
    return name


def build_editable(*args: Any, **options: Any) -> str:
    """Bundles the dashboard and builds the editable wheel; returns its file name."""
    _bundle()
    name: str = maturin.build_editable(*args, **options)
    return name


def _bundle() -> None:
    """Bundles `web/` when its sources are newer than the bundle.

    Raises:
        SystemExit: npm is missing or fails; says what to do.
    """
    if not _WEB.exists() or _is_current():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("the dashboard needs npm to be built: install Node >= 20")
    for command in ([npm, "ci", "--no-progress"], [npm, "run", "build"]):
        done = subprocess.run(command, cwd=_WEB, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _is_current() -> bool:
    if not _BUNDLE.exists():
        return False
    built = _BUNDLE.stat().st_mtime
    sources = (path for path in _WEB.rglob("*") if "node_modules" not in path.parts)
    return all(path.stat().st_mtime <= built for path in sources if path.is_file())
