"""Builds everything into .venv: the dashboard, the `linkerd` command and `linkerd-proxy`.

What `pip install -e .` does, with progress; `make build` calls it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Runs the steps in order; the first that fails shows its output and ends the build."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "-e",
        ".",
    ]
    steps = [
        ("dashboard, command and proxy", install),
        # Pods of the local cluster cannot write bytecode: without it each would compile anew.
        ("bytecode", [sys.executable, "-m", "compileall", "-q", "linkerd", "demo"]),
    ]
    for name, command in steps:
        started = time.monotonic()
        print(f"  {name} …", end="", flush=True)
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            print(f" failed: {' '.join(command)}\n{done.stdout}{done.stderr}", file=sys.stderr)
            return 1
        print(f" {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
