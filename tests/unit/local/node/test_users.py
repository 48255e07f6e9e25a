"""Which users a cluster has, what is opened of the host's folders, and why a start is refused."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from linkerd.local import unprivileged
from linkerd.local.node import rootfs, users
from linkerd.local.node.users import Users


@pytest.mark.parametrize(
    ("uid_map", "expected"),
    [
        ("         0          0 4294967295\n", Users(confined=False, alone=False)),
        ("         0       1000          1\n", Users(confined=True, alone=True)),
        ("0 1000 1\n1 100000 65536\n", Users(confined=True, alone=False)),
    ],
)
def test_a_map_tells_which_users_exist(uid_map: str, expected: Users) -> None:
    assert expected == users.parse(uid_map)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", None),
        ("eve:1:2\n", None),
        ("# note\neve:1:2\nuna:100000:65536\n", (100000, 65536)),
        ("1000:5:6", (5, 6)),
        ("una:x:y\nuna:7:8\n", (7, 8)),
    ],
)
def test_a_range_is_found_by_name_or_number(table: str, expected: tuple[int, int] | None) -> None:
    assert expected == users.subordinate(table, "una", 1000)


def test_only_folders_that_lack_something_are_opened(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    spec: dict[str, Any] = {
        "mounts": [{"target": "/usr"}, {"target": "/usr/none/such"}, {"target": "/top"}],
        "tmpfs": [],
        "files": {"/etc/hostname": "x", "/run/x": "y"},
        "links": {"/usr/lib/none-such": "/x"},
        "traverse": ["/usr/lib"],
        "cwd": "/",
    }
    assert ["/usr", "/usr/lib"] == [path for path in rootfs.to_open(spec) if path != "/etc"]


def test_a_refusal_names_what_would_help() -> None:
    error = unprivileged.refused(OSError(errno.ENOSPC, "no"))
    assert "refuses user namespaces" in error.message
    assert "max_user_namespaces" in (error.hint or "")
