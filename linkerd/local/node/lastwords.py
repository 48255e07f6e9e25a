"""What a container that ended leaves for its status: its termination message.

Source: Kubernetes pkg/kubelet/kuberuntime/kuberuntime_container.go (getTerminationMessage).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from linkerd.local.node import logreader
from linkerd.local.node.lifecycle import Container

_BYTES_MAX = 4096
_LOG_BYTES_MAX = 2048
_LOG_LINES_MAX = 80


def mount(folder: Path, container: Container) -> dict[str, Any]:
    """Returns the mount of an empty file at the container's terminationMessagePath.

    Args:
        folder: The pod's.
        container: About to start.

    Raises:
        OSError: the disk refused.
    """
    file = _file(folder, container)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")
    file.chmod(0o666)  # any user of the container may write it, as with kubelet
    path = container.spec.get("terminationMessagePath") or "/dev/termination-log"
    return {"source": str(file), "target": path, "read_only": False}


def read(folder: Path, container: Container, code: int, logs: Path) -> str:
    """Returns the message of a container that ended with `code`: its file, or its log's end."""
    with contextlib.suppress(OSError), open(_file(folder, container), "rb") as file:
        text = file.read(_BYTES_MAX)
        if text:
            return text.decode("utf-8", "replace")
    if code == 0 or container.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return ""
    path = logs / f"{container.attempt}.log"
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 4 * _LOG_BYTES_MAX))
        lines = file.read().splitlines()[-_LOG_LINES_MAX:]
        entries = [entry for line in lines if (entry := logreader.parse(line)) is not None]
        shown = (logreader.render(entry, timestamps=False, fresh=True) for entry in entries)
        return b"".join(shown)[-_LOG_BYTES_MAX:].decode("utf-8", "replace")
    return ""


def _file(folder: Path, container: Container) -> Path:
    return folder / "termination" / container.name
