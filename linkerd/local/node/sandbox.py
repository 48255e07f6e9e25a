"""A container's root file system: an overlay over the host's root, private to one process.

    enter(spec)     in the child, before exec: namespaces are joined, mounts made, rights dropped

    /            overlay: lower = the host's /, upper = tmpfs (gone with the process)
    /proc /sys   of the container's own PID and network namespace; /proc/sys read-only
    /dev         tmpfs with the six usual nodes, own pts and shm
    /tmp /run    tmpfs
    mounts       binds of the pod's volumes, opened before the root changes, so that no symbolic
                 link of the host or of a volume can lead a bind outside

Nothing is ever mounted in the host's mount namespace. Imported by the zygote: few imports.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any

from linkerd.local.node import linux

_DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
_OLD = "/.old"
_NO_CODE = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC


def enter(spec: dict[str, Any], scratch: str) -> None:
    """Moves the calling process, PID 1 of a new PID namespace, into its container.

    Args:
        spec: The zygote's `start` message (`ContainerSpec.message` documents the fields).
        scratch: An existing host folder; used as mount point inside the new mount namespace only.

    Raises:
        OSError: a call failed; the text names the call and the path.
    """
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    linux.sethostname(spec["hostname"])
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    sources = [_open(item["source"]) for item in spec["mounts"]]
    through = [(path, _open(path)) for path in spec["through"] if os.path.exists(path)]
    _overlay(spec, scratch)
    _system(spec, through)
    for item, source in sorted(
        zip(spec["mounts"], sources, strict=True), key=lambda pair: pair[0]["target"].count("/")
    ):
        _bind(source, item["target"], read_only=item["read_only"])
    if not spec["privileged"]:
        _read_only("/proc/sys")
    if spec["read_only_root"]:
        os.makedirs(spec["cwd"], exist_ok=True)
        os.makedirs(_OLD, exist_ok=True)
    linux.umount(_OLD, linux.MNT_DETACH)
    with contextlib.suppress(OSError):
        os.rmdir(_OLD)
    if spec["read_only_root"]:
        _read_only("/")
    os.makedirs(spec["cwd"], exist_ok=True)
    os.chdir(spec["cwd"])


def drop_rights(spec: dict[str, Any]) -> None:
    """Takes on the container's user, groups and capabilities; the last step before exec.

    Raises:
        OSError: the kernel refused.
    """
    keep, ambient = spec["capabilities"], spec["ambient"]
    linux.become(spec["uid"], spec["gid"], spec["groups"], keep=keep, ambient=ambient)
    if spec["no_new_privs"]:
        linux.no_new_privs()


def _overlay(spec: dict[str, Any], scratch: str) -> None:
    linux.mount("tmpfs", scratch, "tmpfs", linux.MS_NODEV, "mode=0755")
    os.chdir(scratch)
    for name in ("upper", "work", "root"):
        os.mkdir(name)
    for path in spec["traverse"]:
        mode = stat.S_IMODE(os.stat(path).st_mode) | 0o111
        os.chmod(_mirror(path), mode)  # in the upper layer only: the host's folder stays closed
    for path in spec["hide"]:
        os.setxattr(_mirror(path), "trusted.overlay.opaque", b"y")
    for path, text in spec["files"].items():
        _mirror(os.path.dirname(path))
        with open("upper" + path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod("upper" + path, 0o644)
    for path, target in spec["links"].items():
        _mirror(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.symlink(target, "upper" + path)
    linux.mount("overlay", "root", "overlay", 0, "lowerdir=/,upperdir=upper,workdir=work")
    os.mkdir("root" + _OLD)
    linux.pivot_root("root", "root" + _OLD)
    os.chdir("/")


def _mirror(path: str) -> str:
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


def _system(spec: dict[str, Any], through: list[tuple[str, int]]) -> None:
    linux.mount("proc", "/proc", "proc", _NO_CODE)
    with contextlib.suppress(OSError):
        linux.mount("sysfs", "/sys", "sysfs", _NO_CODE | linux.MS_RDONLY)
    linux.mount("tmpfs", "/dev", "tmpfs", linux.MS_NOSUID, "mode=0755,size=65536k")
    mask = os.umask(0)
    for name, major, minor in _DEVICES:
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    os.umask(mask)
    os.mkdir("/dev/pts")
    os.mkdir("/dev/shm")
    with contextlib.suppress(OSError):
        linux.mount("devpts", "/dev/pts", "devpts", linux.MS_NOSUID, "newinstance,ptmxmode=0666")
    linux.mount("tmpfs", "/dev/shm", "tmpfs", _NO_CODE, "mode=1777")
    for name, target in (
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ):
        os.symlink(target, f"/dev/{name}")
    for path, mode in (("/tmp", "1777"), ("/run", "0755")):
        os.makedirs(path, exist_ok=True)
        linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"mode={mode}")
    for path, source in through:
        with contextlib.suppress(OSError):  # what cannot be bound is not seen, as before
            _bind(source, path, read_only=True, recursive=True)
    for item in spec["tmpfs"]:
        os.makedirs(item["target"], exist_ok=True)
        linux.mount(
            "tmpfs", item["target"], "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, item["data"]
        )


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"open {path}: {error.strerror}") from None


def _bind(source: int, target: str, *, read_only: bool, recursive: bool = False) -> None:
    if stat.S_ISDIR(os.fstat(source).st_mode):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC, 0o644))
    flags = linux.MS_BIND | (linux.MS_REC if recursive else 0)
    linux.mount(f"/proc/self/fd/{source}", target, None, flags)
    os.close(source)
    if read_only:
        _read_only(target)


def _read_only(target: str) -> None:
    if target != "/" and not os.path.ismount(target):
        linux.mount(target, target, None, linux.MS_BIND)
    linux.mount(None, target, None, linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY)
