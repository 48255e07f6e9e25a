"""Order, retries, warnings and texts of checks, by probes from tables; excludes real probes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from linkerd.check import engine, render
from linkerd.check.engine import Category, Check, Outcome, Result
from linkerd.errors import CheckFailed


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    @property
    def clock(self) -> engine.Clock:
        return engine.Clock(lambda: self.now_s, self.sleep)


def probe(*answers: str | Exception | None) -> engine.Probe:
    """A probe that gives one answer after the other, the last one for ever."""
    script: Iterator[str | Exception | None] = iter(answers)
    last: list[str | Exception | None] = [None]

    async def ask() -> str | None:
        last[0] = next(script, last[0])
        if isinstance(last[0], Exception):
            raise last[0]
        return last[0]

    return ask


NO = CheckFailed("it is not")
HINTED = CheckFailed("it is not", hint="try")


async def answers(*checks: Check, wait_s: float = 0.0) -> list[Result]:
    category = Category("linkerd-x", checks)
    found = engine.run([category], wait_s=wait_s, clock=Time().clock, on_wait=lambda _: None)
    return [result async for result in found]


@pytest.mark.parametrize(
    ("check", "outcome", "text"),
    [
        (Check("q", "a", probe(None)), Outcome.SUCCESS, ""),
        (Check("q", "a", probe("\t* east")), Outcome.SUCCESS, "\t* east"),
        (Check("q", "a", probe(NO)), Outcome.ERROR, "it is not"),
        (Check("q", "a", probe(NO), warning=True), Outcome.WARNING, "it is not"),
        (Check("q", "a", probe(NO, NO, None), retry=True), Outcome.SUCCESS, ""),
        (Check("q", "a", probe(NO), retry=True), Outcome.ERROR, "it is not"),
        (Check("q", "a", probe(NO), remedy="do"), Outcome.ERROR, "it is not\ndo"),
        (Check("q", "a", probe(HINTED)), Outcome.ERROR, "it is not\ntry"),
        (Check("q", "a", probe(HINTED), remedy="do"), Outcome.ERROR, "it is not\ndo"),
    ],
)
async def test_an_answer_follows_from_its_probe(check: Check, outcome: Outcome, text: str) -> None:
    [result] = await answers(check, wait_s=20.0)
    assert (outcome, text) == (result.outcome, result.text)


async def test_a_fatal_failure_ends_the_run() -> None:
    found = await answers(Check("1", "a", probe(NO), fatal=True), Check("2", "a", probe(None)))
    assert ["1"] == [result.question for result in found]


async def test_a_fatal_warning_does_not_end_the_run() -> None:
    first = Check("1", "a", probe(NO), fatal=True, warning=True)
    found = await answers(first, Check("2", "a", probe(None)))
    assert ["1", "2"] == [result.question for result in found]


async def test_a_question_without_sense_is_not_shown() -> None:
    assert [] == await answers(Check("1", "a", probe(engine.Skip())))


async def test_waiting_is_told_with_the_error_when_asked_for() -> None:
    told: list[str] = []
    checks = [
        Check("1", "a", probe(NO, None), retry=True),
        Check("2", "a", probe(NO, None), retry=True, surface=True),
    ]
    category = Category("x", checks)
    run = engine.run([category], wait_s=60.0, clock=Time().clock, on_wait=told.append)
    assert 2 == len([result async for result in run])
    assert ["waiting for check to complete", "", "it is not", ""] == told


RESULTS = [
    Result("kubernetes-api", "can query", Outcome.SUCCESS),
    Result("linkerd-version", "cli is up-to-date", Outcome.WARNING, "old\n\t* a", "https://h/#v"),
    Result("linkerd-version", "other", Outcome.ERROR, "bad", "https://h/#o"),
]

TABLE = """kubernetes-api
--------------
√ can query

linkerd-version
---------------
‼ cli is up-to-date
    old
        * a
    see https://h/#v for hints
× other
    bad
    see https://h/#o for hints

Status check results are ×
"""

SHORT = TABLE.partition("\n\n")[2]


@pytest.mark.parametrize(("short", "expected"), [(False, TABLE), (True, SHORT)])
def test_answers_print_as_linkerds(short: bool, expected: str) -> None:
    table = render.Table(short=short)
    lines = [line for result in RESULTS for line in table.lines(result)]
    assert expected == "\n".join([*lines, *table.end(RESULTS), ""])


def test_a_short_table_without_failures_is_the_verdict() -> None:
    table = render.Table(short=True)
    assert ["Status check results are √"] == table.end(RESULTS[:1])


def test_json_has_linkerds_keys() -> None:
    document = json.loads(render.as_json(RESULTS))
    assert document["success"] is False
    assert ["kubernetes-api", "linkerd-version"] == [
        category["categoryName"] for category in document["categories"]
    ]
    assert {
        "description": "cli is up-to-date",
        "hint": "https://h/#v",
        "error": "old\n\t* a",
        "result": "warning",
    } == document["categories"][1]["checks"][0]
    assert {"description": "can query", "result": "success"} == document["categories"][0]["checks"][
        0
    ]
