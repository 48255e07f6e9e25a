"""Extensions that are programs on PATH: which are asked, and what is made of their answers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from linkerd.check.engine import Outcome, Result
from linkerd.cli import _plugins

ARGS = argparse.Namespace(
    api_addr=None, context="east", impersonate=None, impersonate_groups=[], kubeconfig=None,
    linkerd_namespace="linkerd", namespace=None, wait=30.0, proxy=True, verbose=False,
)  # fmt: skip
ANSWER = {
    "success": True,
    "categories": [
        {
            "categoryName": "linkerd-foo",
            "checks": [
                {"description": "foo works", "result": "success"},
                {"description": "foo shines", "result": "warning", "error": "dull", "hint": "h"},
            ],
        }
    ],
}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def a_plugin(path: Path, name: str, *, metadata: str = "", check: str = "") -> None:
    program = path / name
    program.write_text(
        f"#!/bin/sh\ncase $1 in\n_extension-metadata) echo '{metadata}';;\n"
        f"check) echo \"$@\" > {path}/asked; echo '{check}';;\nesac\n"
    )
    program.chmod(0o755)


async def test_programs_are_asked_that_want_it_or_have_a_namespace(path: Path) -> None:
    a_plugin(path, "linkerd-foo", metadata='{"name":"linkerd-foo","checks":"always"}')
    a_plugin(path, "linkerd-other", metadata='{"name":"linkerd-liar","checks":"always"}')
    a_plugin(path, "linkerd-smi", metadata="unknown command")
    a_plugin(path, "linkerd-proxy", metadata='{"name":"linkerd-proxy","checks":"always"}')
    a_plugin(path, "linkerd-viz", metadata='{"name":"linkerd-viz","checks":"always"}')
    programs, absent = await _plugins.wanted(["smi", "viz", "gone"], ["viz"])
    assert ["linkerd-foo", "linkerd-smi"] == programs
    assert [("linkerd-gone", Outcome.WARNING)] == [(one.category, one.outcome) for one in absent]
    assert "Linkerd extension command linkerd-gone exists" == absent[0].question


async def test_a_programs_answers_are_shown_as_its_own(path: Path) -> None:
    a_plugin(path, "linkerd-foo", check=json.dumps(ANSWER))
    assert [
        Result("linkerd-foo", "foo works", Outcome.SUCCESS),
        Result("linkerd-foo", "foo shines", Outcome.WARNING, "dull", "h"),
    ] == await _plugins.ask("linkerd-foo", ARGS)
    asked = "check --context=east --linkerd-namespace=linkerd --wait=30s --proxy --output=json"
    assert asked == (path / "asked").read_text().strip()


@pytest.mark.parametrize("said", ["", "nonsense", "[]", '{"categories":[{"checks":[{}]}]}'])
async def test_a_program_that_says_nonsense_fails_the_check(path: Path, said: str) -> None:
    a_plugin(path, "linkerd-foo", check=said)
    (result,) = await _plugins.ask("linkerd-foo", ARGS)
    assert (Outcome.ERROR, "Running: linkerd-foo check") == (result.outcome, result.question)
    assert "invalid extension check output from" in result.text
