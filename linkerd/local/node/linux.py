"""The Linux calls that Python lacks: namespaces, mounts, capabilities, pidfds.

Thin ctypes wrappers that raise `OSError` with the call's name and arguments; no decisions here.
Imported by the zygote, so it imports next to nothing.
"""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91}
_SYS_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220}
_SYS_MOUNT_SETATTR = 442  # the same on every architecture
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL = 9
_SIGCHLD = 17

#: Bit of each capability, by its Kubernetes name (without `CAP_`).
CAPABILITIES = {
    name: bit
    for bit, name in enumerate(
        [
            "CHOWN",
            "DAC_OVERRIDE",
            "DAC_READ_SEARCH",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETPCAP",
            "LINUX_IMMUTABLE",
            "NET_BIND_SERVICE",
            "NET_BROADCAST",
            "NET_ADMIN",
            "NET_RAW",
            "IPC_LOCK",
            "IPC_OWNER",
            "SYS_MODULE",
            "SYS_RAWIO",
            "SYS_CHROOT",
            "SYS_PTRACE",
            "SYS_PACCT",
            "SYS_ADMIN",
            "SYS_BOOT",
            "SYS_NICE",
            "SYS_RESOURCE",
            "SYS_TIME",
            "SYS_TTY_CONFIG",
            "MKNOD",
            "LEASE",
            "AUDIT_WRITE",
            "AUDIT_CONTROL",
            "SETFCAP",
            "MAC_OVERRIDE",
            "MAC_ADMIN",
            "SYSLOG",
            "WAKE_ALARM",
            "BLOCK_SUSPEND",
            "AUDIT_READ",
            "PERFMON",
            "BPF",
            "CHECKPOINT_RESTORE",
        ]
    )
}

_libc = ctypes.CDLL(None, use_errno=True)
_python = ctypes.PyDLL(None, use_errno=True)  # calls without letting go of the interpreter
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mounts a file system, or changes a mount.

    Raises:
        OSError: the kernel refused; the target is its file name.
    """
    result = _libc.mount(
        source.encode() if source else None,
        os.fsencode(target),
        kind.encode() if kind else None,
        flags,
        data.encode() if data else None,
    )
    _check(result, f"mount {kind or source} on {target}")


def read_only_tree(target: str) -> None:
    """Makes a mount and all below it read-only; Linux 5.12 and newer.

    Raises:
        OSError: the kernel refused.
    """
    attributes = struct.pack("=4Q", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    number, at, flags = ctypes.c_long(_SYS_MOUNT_SETATTR), ctypes.c_int(-100), _AT_RECURSIVE
    size = ctypes.c_size_t(len(attributes))
    result = _libc.syscall(number, at, os.fsencode(target), ctypes.c_uint(flags), attributes, size)
    _check(result, f"read-only mount {target}")


def umount(target: str, flags: int = 0) -> None:
    """Unmounts what is on `target`.

    Raises:
        OSError: the kernel refused.
    """
    _check(_libc.umount2(os.fsencode(target), flags), f"unmount {target}")


def unshare(flags: int) -> None:
    """Gives the calling thread new namespaces; as unshare does.

    Raises:
        OSError: the kernel refused, mostly because the caller is not root.
    """
    _check(_libc.unshare(flags), f"unshare {flags:#x}")


def fork_into(flags: int) -> int:
    """Forks as `os.fork` does, with the child in new namespaces.

    Only for a single-threaded process whose child soon executes a program: Python does not learn
    of the fork.

    Raises:
        OSError: the kernel refused.
    """
    number, nothing = ctypes.c_long(_SYS_CLONE[os.uname().machine]), ctypes.c_ulong(0)
    pid: int = _python.syscall(
        number, ctypes.c_ulong(flags | _SIGCHLD), nothing, nothing, nothing, nothing
    )
    _check(pid, f"clone {flags:#x}")
    return pid


def setns(fd: int, flags: int = 0) -> None:
    """Enters the namespaces behind `fd` (a namespace file, or a pidfd with `flags`).

    Raises:
        OSError: the kernel refused.
    """
    _check(_libc.setns(fd, flags), f"setns {flags:#x}")


def pivot_root(new: str, old: str) -> None:
    """Makes `new` the root and puts the old one on `old`.

    Raises:
        OSError: the kernel refused.
    """
    number = ctypes.c_long(_SYS_PIVOT_ROOT[os.uname().machine])
    _check(_libc.syscall(number, os.fsencode(new), os.fsencode(old)), f"pivot_root {new}")


def sethostname(name: str) -> None:
    """Sets the host name of the caller's UTS namespace.

    Raises:
        OSError: the kernel refused.
    """
    text = name.encode()
    _check(_libc.sethostname(text, len(text)), f"sethostname {name}")


def die_with_parent(number: int = _SIGKILL) -> None:
    """Lets the kernel send signal `number` to this process when the parent thread ends.

    A change of credentials clears it: call it after setuid.
    """
    _prctl(_PR_SET_PDEATHSIG, number)


def no_new_privs() -> None:
    """Keeps exec from ever gaining rights (setuid bits, file capabilities)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def capability_mask(names: list[str]) -> int:
    """Returns the bit mask of capability names; `ALL` is every one, a `CAP_` prefix is allowed.

    Raises:
        KeyError: a name is no capability.
    """
    mask = 0
    for name in names:
        bare = name.removeprefix("CAP_")
        mask |= (1 << len(CAPABILITIES)) - 1 if bare == "ALL" else 1 << CAPABILITIES[bare]
    return mask


def become(uid: int, gid: int, groups: list[int], *, keep: int, ambient: int) -> None:
    """Changes to a user and keeps at most the capabilities in `keep`.

    Root keeps `keep`; other users lose all on exec except `ambient`, which stands in for the file
    capabilities that an image's binary would carry.

    Raises:
        OSError: the kernel refused.
    """
    keep &= _permitted()
    _drop_from_bounds(keep)
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _hold(keep if uid == 0 else ambient & keep, ambient & keep)


def restrict(keep: int) -> None:
    """Stays the user that this process is, with at most the capabilities in `keep`.

    Raises:
        OSError: the kernel refused.
    """
    keep &= _permitted()
    _drop_from_bounds(keep)
    _hold(keep, 0)


def _drop_from_bounds(keep: int) -> None:
    for bit in range(_last_capability() + 1):
        if not keep >> bit & 1:
            _libc.prctl(_PR_CAPBSET_DROP, bit, 0, 0, 0)


def _hold(held: int, ambient: int) -> None:
    _capset(effective=held, permitted=held, inheritable=ambient)
    for bit in range(len(CAPABILITIES)):
        if ambient >> bit & 1:
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, bit)


def _permitted() -> int:
    with open("/proc/thread-self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("CapPrm:"):
                return int(line.split()[1], 16)
    return 0


def _last_capability() -> int:
    try:
        with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return len(CAPABILITIES) - 1


def _capset(*, effective: int, permitted: int, inheritable: int) -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low = 0xFFFFFFFF
    data = struct.pack(
        "=6I",
        effective & low,
        permitted & low,
        inheritable & low,
        effective >> 32,
        permitted >> 32,
        inheritable >> 32,
    )
    number = ctypes.c_long(_SYS_CAPSET[os.uname().machine])
    _check(_libc.syscall(number, header, data), "capset")


def _prctl(option: int, first: int = 0, second: int = 0) -> None:
    _check(_libc.prctl(option, first, second, 0, 0), f"prctl {option} {first}")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
