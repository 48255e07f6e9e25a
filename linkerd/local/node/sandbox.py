"""A container's file system and rights, private to one process.

    enter(spec)     in the child, before exec: namespaces are joined, mounts made, rights dropped

    /            the host's, as `rootfs` makes it
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

from linkerd.local.node import linux, rootfs
from linkerd.local.node.users import Users, become_number

_DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
_NO_CODE = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC


def enter(spec: dict[str, Any], scratch: str, users: Users) -> None:
    """Moves the calling process, PID 1 of a new PID namespace, into its container.

    Args:
        spec: The zygote's `start` message (`ContainerSpec.message` documents the fields).
        scratch: An existing host folder; used as mount point inside the new mount namespace only.
        users: What the user namespace allows.

    Raises:
        OSError: a call failed; the text names the call and the path.
    """
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    linux.sethostname(spec["hostname"])
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    sources = [_open(item["source"]) for item in spec["mounts"]]
    through = [(path, _open(path)) for path in spec["through"] if os.path.exists(path)]
    if spec["root"]:
        rootfs.image(spec, scratch)
        through = []
    elif users.confined:
        rootfs.mirror(spec, scratch)
        through = [(path, fd) for path, fd in through if path.startswith(rootfs.PRIVATE)]
    else:
        rootfs.overlay(spec, scratch)
    _system(spec, through, users)
    if users.confined and not spec["root"]:
        rootfs.write_files(spec)
    for item, source in sorted(
        zip(spec["mounts"], sources, strict=True), key=lambda pair: pair[0]["target"].count("/")
    ):
        _bind(source, item["target"], read_only=item["read_only"], recursive=users.confined)
    if not spec["privileged"]:
        _read_only("/proc/sys")
    if spec["read_only_root"]:
        os.makedirs(spec["cwd"], exist_ok=True)
        os.makedirs(rootfs.OLD, exist_ok=True)
    linux.umount(rootfs.OLD, linux.MNT_DETACH)
    with contextlib.suppress(OSError):
        os.rmdir(rootfs.OLD)
    if spec["read_only_root"]:
        _read_only("/")
    os.makedirs(spec["cwd"], exist_ok=True)
    os.chdir(spec["cwd"])


def drop_rights(spec: dict[str, Any], users: Users) -> None:
    """Takes on the container's user, groups and capabilities; the last step before exec.

    Where only one user exists, a container that adds capabilities stays user 0, because they count
    in the pod's namespaces; any other is given its number in a user namespace of its own.

    Raises:
        OSError: the kernel refused.
    """
    keep, ambient = spec["capabilities"], spec["ambient"]
    if not users.alone:
        linux.become(spec["uid"], spec["gid"], spec["groups"], keep=keep, ambient=ambient)
    elif spec["uid"] == 0 or ambient:
        linux.restrict(keep)
    else:
        become_number(spec["uid"], spec["gid"])
        linux.restrict(0)
    if spec["no_new_privs"]:
        linux.no_new_privs()


def _system(spec: dict[str, Any], through: list[tuple[str, int]], users: Users) -> None:
    for folder in ("/proc", "/sys", "/dev"):
        os.makedirs(folder, exist_ok=True)
    try:
        linux.mount("proc", "/proc", "proc", _NO_CODE)
    except PermissionError:  # parts of the host's are covered, as in a Docker container
        linux.mount(rootfs.OLD + "/proc", "/proc", None, linux.MS_BIND | linux.MS_REC)
    with contextlib.suppress(OSError):
        linux.mount("sysfs", "/sys", "sysfs", _NO_CODE | linux.MS_RDONLY)
    linux.mount("tmpfs", "/dev", "tmpfs", linux.MS_NOSUID, "mode=0755,size=65536k")
    mask = os.umask(0)
    for name, major, minor in _DEVICES:
        if users.confined:
            os.close(os.open(f"/dev/{name}", os.O_CREAT | os.O_CLOEXEC))
            linux.mount(f"{rootfs.OLD}/dev/{name}", f"/dev/{name}", None, linux.MS_BIND)
        else:
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
    try:
        linux.mount(None, target, None, linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY)
    except PermissionError:  # has options of the host that a user namespace must keep
        linux.read_only_tree(target)
