"""Runs a command as an ordinary user of this machine: `ordinary_user.py UID HOME COMMAND...`, as root.

The user has no entry in /etc/passwd and no range of ids. What is needed of Python may lie in a
folder that only root may enter; in a mount namespace of its own such a folder is made enterable,
everything else stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from linkerd.local.node import host, linux


def main(argv: list[str]) -> None:
    """Becomes the user and executes the command."""
    uid, home, *command = argv
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    for folder in sorted(host.closed_folders([*host.needed_paths(), sys.executable])):
        _open(Path(folder))
    os.setgroups([])
    os.setresgid(int(uid), int(uid), int(uid))
    os.setresuid(int(uid), int(uid), int(uid))
    environment = {
        "HOME": home,
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LINKERD_LOCAL_HOME": f"{home}/local",
    }
    os.chdir(home)
    os.execvpe(command[0], command, environment)


def _open(folder: Path) -> None:
    """Puts a folder of mode 0755 in a folder's place, with the same content."""
    old = os.open(folder, os.O_PATH)
    linux.mount("tmpfs", str(folder), "tmpfs", 0, "mode=0755")
    for entry in os.scandir(f"/proc/self/fd/{old}"):
        place = folder / entry.name
        if entry.is_symlink():
            place.symlink_to(os.readlink(entry.path))
            continue
        if entry.is_dir():
            place.mkdir(0o700)
        else:
            place.touch(0o600)
        linux.mount(entry.path, str(place), None, linux.MS_BIND | linux.MS_REC)


def processes(uid: int) -> list[str]:
    """Returns the command lines of all processes of a user."""
    shown = subprocess.run(
        ["ps", "-o", "args=", "-u", str(uid)], capture_output=True, text=True, check=False
    )
    return [line for line in shown.stdout.splitlines() if "<defunct>" not in line]


if __name__ == "__main__":
    main(sys.argv[1:])
