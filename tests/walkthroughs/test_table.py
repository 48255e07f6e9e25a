"""docs/walkthroughs.md is what the documents' tests declare, each command with its result."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.walkthroughs.steps import Step, normal, table
from tests.walkthroughs.terminal import ROOT
from tests.walkthroughs.test_chinese_quickstart import WALK as CHINESE
from tests.walkthroughs.test_german_blog import WALK as GERMAN
from tests.walkthroughs.test_japanese_blog import WALK as JAPANESE
from tests.walkthroughs.test_microk8s_article import WALK as MICROK8S
from tests.walkthroughs.test_video import WALK as VIDEO

PAGE = ROOT / "docs" / "walkthroughs.md"
WALKS = (GERMAN, MICROK8S, CHINESE, JAPANESE, VIDEO)
HEAD = """\
# The walk-throughs

Five documents of other people say how Linkerd is used; their readers must be able to type what they
print. `tests/walkthroughs/` runs every command below on `linkerd local`, `make test-kubernetes` on a
real Kubernetes, and both compare what it shows with the document's lines, names, ages, addresses and
versions aside. The tests write this page (`UPDATE_GOLDEN=1 pytest tests/walkthroughs/test_table.py`).

What they do in a browser, `make test-browser` does in Chromium (`tests/browser`).

What cannot be had offline is replaced in one place, the programs in `tests/walkthroughs/stand_ins/`.
`kubectl` is the installed one, or that of `linkerd local` where there is none.
"""


def test_the_page_lists_every_command() -> None:
    text = "\n".join([HEAD, *(table(walk) for walk in WALKS)])
    if os.environ.get("UPDATE_GOLDEN"):
        Path(PAGE).write_text(text)
    assert text == Path(PAGE).read_text()


def test_every_click_is_done_by_a_test_that_there_is() -> None:
    clicks = [test for walk in WALKS for test in walk.clicks.values()]
    folder = ROOT / "tests" / "browser"
    tests = {
        f"{file.name}::{name}"
        for file in folder.glob("test_*.py")
        for name in re.findall(r"^async def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert set() == set(clicks) - tests


def test_lines_are_compared_without_what_differs_between_runs() -> None:
    theirs = "web-5f86686c4d-qh5bz        2/2     Running   0          34m"
    ours = "web-w9b55dqm85-vzxdj   2/2     Running   0          2m13s"
    assert normal(theirs) == normal(ours)
    assert normal("Client version: stable-2.11.1") == normal("Client version: v0.1.0")


def test_shown_lines_come_in_the_documents_order() -> None:
    step = Step("x", "a\n---\nb", gone={"c": "why"})
    assert [] == step.left("a\nmore\nb")
    assert ["b"] == step.left("b\na")
