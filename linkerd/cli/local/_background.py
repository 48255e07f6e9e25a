"""Our own commands that go on beside a cluster, such as its dashboard; they end when it stops.

Each is a file `<state>/background/<name>.pid` with the process id and its start time, so that
a number that now belongs to another process is never signalled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from linkerd.local.paths import Paths

_STOP_S = 3.0


def start(paths: Paths, name: str, words: list[str], environment: dict[str, str]) -> Path:
    """Runs `linkerd WORDS` detached; returns the file with its output.

    A process of that name that runs already is ended first.
    """
    _stop(_file(paths, name))
    log = paths.logs / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", "from linkerd.cli.main import main; raise SystemExit(main())"]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*command, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    file = _file(paths, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{process.pid} {_started(process.pid)}")
    return log


def running(paths: Paths, name: str) -> bool:
    """Returns whether the process of that name runs."""
    return _pid(_file(paths, name)) > 0


def stop_all(paths: Paths) -> None:
    """Ends every such process of the cluster."""
    folder = paths.state / "background"
    for file in folder.glob("*.pid") if folder.exists() else ():
        _stop(file)


def _stop(file: Path) -> None:
    pid = _pid(file)
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while _pid(file) and time.monotonic() < deadline:
            time.sleep(0.02)
        if _pid(file):
            os.kill(pid, signal.SIGKILL)
    file.unlink(missing_ok=True)


def _file(paths: Paths, name: str) -> Path:
    return paths.state / "background" / f"{name}.pid"


def _pid(file: Path) -> int:
    try:
        pid, started = file.read_text().split()
        return int(pid) if _started(int(pid)) == started else 0
    except (OSError, ValueError):
        return 0


def _started(pid: int) -> str:
    """The start time of a process in clock ticks since boot; "" when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
