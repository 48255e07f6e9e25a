"""A bed that is killed leaves nothing behind: no process, mount, network, rule, cgroup or file.

Not covered: what a bed is good for; every other file of this folder shows that.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.mesh import until
from tests.kubernetes.bed import cluster
from tests.kubernetes.bed.node import cgroup_hierarchies
from tests.kubernetes.bed.paths import Paths

pytestmark = pytest.mark.timeout(300)

BED = Paths("test-nothing")


def _machine() -> dict[str, list[str]]:
    """What a bed could leave behind outside of its namespaces."""
    commands = {
        "links": ["ip", "-brief", "link"],
        "routes": ["ip", "route", "show", "table", "all"],
        "named networks": ["ip", "netns"],
        "rules": ["iptables-save"],
        "mounts": ["findmnt", "--raw", "--noheadings", "--output=TARGET,FSTYPE"],
    }
    found = {name: _lines(command) for name, command in commands.items()}
    # Others' networks come and go meanwhile; ours are known by their names.
    ours = ("node0", "cni0", BED.name, "KUBE-", "10.77.", "10.244.0.")
    return {
        name: [line for line in lines if any(one in line for one in ours)]
        for name, lines in found.items()
    }


def _lines(command: list[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def _processes() -> list[str]:
    return _lines(["pgrep", "--full", "--list-full", f"{BED.root}|bed.node {BED.name}"])


def _cgroups() -> list[Path]:
    folders = [hierarchy / BED.cgroup.lstrip("/") for hierarchy in cgroup_hierarchies()]
    return [folder for folder in folders if folder.exists()]


def test_nothing_is_left_of_a_bed_that_is_killed() -> None:
    before = _machine()
    cluster.up(BED, follow=True)
    assert _processes() and _cgroups()
    os.kill(int(BED.pid.read_text()), signal.SIGKILL)
    until(lambda: not BED.root.exists(), "its state is removed", timeout_s=60)
    assert ([], [], before) == (_processes(), _cgroups(), _machine())


def test_a_bed_dies_with_its_janitor_and_down_removes_the_rest() -> None:
    before = _machine()
    cluster.up(BED, api_only=True, follow=True)
    stat = Path(f"/proc/{BED.pid.read_text().strip()}/stat").read_text()
    janitor = int(stat.rpartition(")")[2].split()[1])
    os.kill(janitor, signal.SIGKILL)
    until(lambda: not _processes(), "everything ended", timeout_s=60)
    cluster.down(BED)
    assert not BED.root.exists()
    assert ([], before) == (_cgroups(), _machine())
