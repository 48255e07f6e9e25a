"""A container's root, made from the host's: an overlay, or where that is not allowed a mirror.

    overlay    lower = the host's /, upper = tmpfs: everything can be written and nothing arrives
    image      the same over the root of an imported image
    mirror     tmpfs with the host's top folders bound read-only; for user namespaces, in which the
               kernel refuses an overlay over / and changing files of foreign owners. Where something
               must appear that the host does not have, the nearest folder is opened: a tmpfs in
               its place, with what is in it bound one by one

All end with the new root entered and the old one at `/.old`. Imported by the zygote: few imports.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from typing import Any

from linkerd.local.node import linux

OLD = "/.old"
#: Folders that every container has its own of.
PRIVATE = ("/tmp", "/run", "/proc", "/sys", "/dev")
#: Further folders that can be written in a mirror.
_WRITABLE = (("/root", "0700"), ("/var/tmp", "1777"))

Spec = dict[str, Any]


def overlay(spec: Spec, scratch: str) -> None:
    """Enters an overlay over the host's root.

    Raises:
        OSError: the kernel refused.
    """
    linux.mount("tmpfs", scratch, "tmpfs", linux.MS_NODEV, "mode=0755")
    os.chdir(scratch)
    for name in ("upper", "work", "root"):
        os.mkdir(name)
    for path in spec["traverse"]:
        mode = stat.S_IMODE(os.stat(path).st_mode) | 0o111
        os.chmod(_copy(path), mode)  # in the upper layer only: the host's folder stays closed
    for path in spec["hide"]:
        os.setxattr(_copy(path), "trusted.overlay.opaque", b"y")
    for path, text in spec["files"].items():
        _copy(os.path.dirname(path))
        with open("upper" + path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod("upper" + path, 0o644)
    for path, target in spec["links"].items():
        _copy(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.symlink(target, "upper" + path)
    linux.mount("overlay", "root", "overlay", 0, "lowerdir=/,upperdir=upper,workdir=work")
    os.mkdir("root" + OLD)
    linux.pivot_root("root", "root" + OLD)
    os.chdir("/")


def image(spec: Spec, scratch: str) -> None:
    """Enters an overlay over an imported image's root; also allowed in a user namespace.

    Raises:
        OSError: the kernel refused, or the image is gone.
    """
    lower = os.open(spec["root"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    linux.mount("tmpfs", scratch, "tmpfs", linux.MS_NODEV, "mode=0755")
    os.chdir(scratch)
    for name in ("upper", "work", "root"):
        os.mkdir(name)
    options = f"lowerdir=/proc/self/fd/{lower},upperdir=upper,workdir=work,userxattr"
    linux.mount("overlay", "root", "overlay", 0, options)
    os.close(lower)
    os.mkdir("root" + OLD)
    linux.pivot_root("root", "root" + OLD)
    os.chdir("/")
    for path, text in spec["files"].items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)


def _copy(path: str) -> str:
    """Makes `path`'s folders in the upper layer with the modes and owners of the host's."""
    made = "upper"
    for part in path.strip("/").split("/") if path != "/" else []:
        made += "/" + part
        if not os.path.isdir(made):
            os.mkdir(made)
            with contextlib.suppress(OSError):
                host = os.stat(made.removeprefix("upper"))
                os.chown(made, host.st_uid, host.st_gid)
                os.chmod(made, stat.S_IMODE(host.st_mode))
    return made


def mirror(spec: Spec, scratch: str) -> None:
    """Enters a mirror of the host's root.

    Raises:
        OSError: the kernel refused.
    """
    opened = to_open(spec)
    linux.mount("tmpfs", scratch, "tmpfs", linux.MS_NODEV, "mode=0755")
    os.chdir(scratch)
    os.mkdir(OLD[1:])
    linux.pivot_root(".", OLD[1:])
    os.chdir("/")
    _fill("/", leave_out={*PRIVATE, OLD})
    for path in opened:
        bits = stat.S_IMODE(os.stat(OLD + path).st_mode)
        _tmpfs(path, f"{bits | 0o111 if path in spec['traverse'] else bits:o}")
        _fill(path, leave_out=())
    for path in spec["hide"]:
        if os.path.isdir(path) and not _private(path):
            _tmpfs(path, "0755")
    for path, mode in _WRITABLE:
        closed = path == "/var/tmp" or not os.access(path, os.X_OK)
        if os.path.isdir(path) and closed and path not in opened:
            _tmpfs(path, mode)
    for path, target in spec["links"].items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(target, path)


def write_files(spec: Spec) -> None:
    """Gives a mirror the pod's own files, once its /run and /tmp are there.

    Raises:
        OSError: the kernel refused.
    """
    for number, (path, text) in enumerate(spec["files"].items()):
        real = os.path.realpath(path)
        if _private(real) or not os.path.exists(real):
            os.makedirs(os.path.dirname(real), exist_ok=True)
            source = real
        else:
            source = f"/.file{number}"
        with open(source, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(source, 0o644)
        if source != real:
            linux.mount(source, real, None, linux.MS_BIND)
            os.unlink(source)


def to_open(spec: Spec) -> list[str]:
    """Returns the host's folders in which a mirror has to add something, outer ones first."""
    wanted = [path for path in spec["traverse"] if os.path.isdir(path)]
    missing = [item["target"] for item in (*spec["mounts"], *spec["tmpfs"])]
    missing += [*spec["links"], *spec["files"]]
    if spec["cwd"] != "/":
        missing.append(spec["cwd"])
    for path in missing:
        folder = os.path.realpath(path)
        if os.path.lexists(folder):
            continue
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        wanted.append(folder)
    found = {path for path in wanted if path != "/" and not _private(path)}
    return sorted(found, key=lambda path: path.count("/"))


def _fill(folder: str, *, leave_out: Iterable[str]) -> None:
    """Binds what the host has in a folder into the mirror's, read-only; links stay links."""
    left_out = set(leave_out)
    with os.scandir(OLD + folder) as entries:
        for entry in entries:
            path = os.path.join(folder, entry.name)
            if path in left_out:
                continue
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), path)
                continue
            if entry.is_dir():
                os.mkdir(path, 0o755)
            else:
                os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o644))
            linux.mount(entry.path, path, None, linux.MS_BIND | linux.MS_REC)
            linux.read_only_tree(path)


def _tmpfs(path: str, mode: str) -> None:
    linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"mode={mode}")


def _private(path: str) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in PRIVATE)
