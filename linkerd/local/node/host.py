"""What containers see of the host: which folders need care so that programs on it can run.

The host's root is every container's root, so a program's path is valid inside; three things could
still keep it from running there: it lives on another file system, below a private /tmp or /run, or
below a folder that only root may enter (a home folder). All three are handled without touching
the host.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_PSEUDO = frozenset(
    [
        "proc",
        "sysfs",
        "devtmpfs",
        "devpts",
        "tmpfs",
        "cgroup",
        "cgroup2",
        "mqueue",
        "hugetlbfs",
        "debugfs",
        "tracefs",
        "securityfs",
        "pstore",
        "bpf",
        "configfs",
        "fusectl",
        "binfmt_misc",
        "autofs",
        "nsfs",
        "rpc_pipefs",
        "ramfs",
        "efivarfs",
        "overlay",
        "squashfs",
    ]
)
_PRIVATE = ("/tmp", "/run", "/proc", "/sys", "/dev")
_LEFT_OUT = (*_PRIVATE, "/etc", "/boot", "/var/lib/docker", "/var/lib/containerd", "/snap")


@dataclass(frozen=True)
class HostView:
    """Paths that every container is given as they are on the host."""

    through: tuple[str, ...]


def needed_paths() -> tuple[str, ...]:
    """Returns the folders of this Python and of this package."""
    package = str(Path(__file__).resolve().parents[3])
    found = (sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), package)
    return tuple(dict.fromkeys(found))


def view(mountinfo: str, needed: Iterable[str]) -> HostView:
    """Returns what to bind into containers, given /proc/self/mountinfo."""
    through: list[str] = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()[0]
        point = fields[4].encode().decode("unicode_escape")
        if point != "/" and kind not in _PSEUDO and not _below(point, _LEFT_OUT):
            through.append(point)
    through += [path for path in needed if _below(path, ("/tmp", "/run"))]
    return HostView(tuple(dict.fromkeys(sorted(through))))


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def closed_folders(paths: Iterable[str]) -> list[str]:
    """Returns the folders on the way to `paths`, links followed, that only their owner may enter."""
    found: dict[str, None] = {}
    for path in paths:
        for folder in _ancestors(path):
            found[folder] = None
    return list(found)


@lru_cache(maxsize=256)
def _ancestors(path: str) -> tuple[str, ...]:
    found: list[str] = []
    for start in dict.fromkeys((path, *_links(path))):
        folder = start if os.path.isdir(start) else os.path.dirname(start)
        while folder not in ("", "/"):
            if _closed(folder):
                found.append(folder)
            folder = os.path.dirname(folder)
    return tuple(dict.fromkeys(found))


def _links(path: str) -> list[str]:
    """Returns every path that following the symbolic links of `path` leads through."""
    steps: list[str] = []
    for _ in range(16):
        if not os.path.islink(path):
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        steps.append(path)
    return [*steps, os.path.realpath(path)]


def _closed(folder: str) -> bool:
    try:
        return not os.stat(folder).st_mode & 0o001
    except OSError:
        return False


def unreadable(path: str) -> str | None:
    """Returns the file or folder that keeps other users from running `path`, None if none does.

    Folders on the way do not count (`closed_folders` opens those inside containers).
    """
    real = os.path.realpath(path)
    try:
        mode = os.stat(real).st_mode
    except OSError:
        return real
    return None if mode & 0o004 else real


def capacity() -> dict[str, float]:
    """Returns the node's CPUs and bytes of memory, by resource name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": float(os.cpu_count() or 1), "memory": float(memory)}


def architecture() -> str:
    """Returns the machine's architecture as Kubernetes names it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
