"""Which users exist here: all of the machine's, a range of them, or one.

    root                 the machine's users; everything is possible
    user namespace       0 is the user who started the cluster, 1 … a range of /etc/subuid, if any;
                         the host's files of other owners can be read but neither changed nor overlaid
    … with one user      no process can become another user: a container's `runAsUser` is a number
                         in a namespace of its own, and file owners mean nothing

Imported by the zygote: few imports.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from linkerd.local.node import linux

_ALL = 1 << 32


@dataclass(frozen=True)
class Users:
    """What the user namespace of a process allows.

    Attributes:
        confined: It is not the machine's own.
        alone: Only one user exists in it.
    """

    confined: bool
    alone: bool


def parse(uid_map: str) -> Users:
    """Returns what `/proc/<pid>/uid_map` means."""
    counts = [int(line.split()[2]) for line in uid_map.splitlines() if line.strip()]
    return Users(confined=sum(counts) < _ALL - 1, alone=counts == [1])


def here() -> Users:
    """Returns what this process's user namespace allows."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return parse(file.read())
    except OSError:  # a kernel without user namespaces
        return Users(confined=False, alone=False)


def subordinate(table: str, name: str, number: int) -> tuple[int, int] | None:
    """Returns first and count of the ids that /etc/subuid or /etc/subgid gives a user.

    Args:
        table: The file's text.
        name: The user's name; a line may name the number instead.
        number: The user's id.
    """
    for line in table.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in (name, str(number)):
            try:
                return int(fields[1]), int(fields[2])
            except ValueError:
                continue
    return None


def become_number(uid: int, gid: int) -> None:
    """Gives this process a user namespace in which its only user has these numbers.

    Raises:
        OSError: the kernel refused.
    """
    linux.unshare(linux.CLONE_NEWUSER)
    map_one(uid, 0, gid, 0)


def map_one(uid: int, outer_uid: int, gid: int, outer_gid: int) -> None:
    """Maps the only user of the user namespace that this process just made.

    Args:
        uid: The user's number inside.
        outer_uid: This process's user in the namespace around it.
        gid: The group's number inside.
        outer_gid: This process's group in the namespace around it.

    Raises:
        OSError: the kernel refused.
    """
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
