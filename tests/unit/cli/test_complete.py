"""What a shell offers after a begun line; excludes what needs a cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from linkerd.cli import _complete
from linkerd.cli.main import main


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (["vi"], ["viz"]),
        (["viz", "stat-"], ["stat-inbound", "stat-outbound"]),
        (["-n", "emojivoto", "viz", "stat", "--from-"], ["--from-namespace"]),
        (["check", "-o", ""], ["json", "short", "table"]),
        (["check", "--output", "j"], ["json"]),
        (["viz", "tap", "dep"], ["deployment"]),
        (["stat", "dep"], ["deployment"]),
        (["multicluster", ""], []),
        (["nonsense", "x"], []),
        (["viz", "stat", "-n", "x", "-l", "x"], []),
    ],
)
def test_what_can_come_next_is_offered(line: list[str], offered: list[str]) -> None:
    assert offered == _complete.candidates(line)


def test_bash_asks_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["completion", "bash"])
    code = capsys.readouterr().out
    asking = "COMP_WORDS=(linkerd viz st); COMP_CWORD=2; _linkerd; echo ${COMPREPLY[@]}"
    linkerd = 'linkerd() { echo "$@"; }'
    done = subprocess.run(
        ["bash", "-c", f"{code}\n{linkerd}\n{asking}"], capture_output=True, text=True, check=True
    )
    assert ("__complete viz st\n", "") == (done.stdout, done.stderr)
