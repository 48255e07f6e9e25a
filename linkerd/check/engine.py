"""Runs checks in order: what is asked is data, only probes do IO.

    category  ──  checks: question, hint anchor, probe, what its failure means
                       │
    probe() → None | success text;  raises CheckFailed (answer is no), Skip (question has no sense)

A fatal failure ends the run. A retryable check is asked again until the deadline.
Source: linkerd2 pkg/healthcheck/healthcheck.go (behaviour).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from linkerd.errors import CheckFailed, LinkerdError

HINT_ROOT = "https://linkerd.io/2/checks/#"
ATTEMPT_S = 30.0
RETRY_S = 5.0

Probe = Callable[[], Awaitable[str | None]]


class Skip(Exception):
    """The question does not apply here; nothing is shown for it."""


class Outcome(Enum):
    """The answer to one question, by its name in JSON."""

    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Check:
    """One question.

    `anchor` is the hint page's; `retry` asks again until the run's deadline; `surface` shows the
    latest error while it does; `remedy` is the sentence that a failure ends with: what to do.
    """

    question: str
    anchor: str
    probe: Probe
    fatal: bool = False
    warning: bool = False
    retry: bool = False
    surface: bool = False
    remedy: str = ""


@dataclass(frozen=True)
class Category:
    """Questions under one heading."""

    name: str
    checks: Sequence[Check]


@dataclass(frozen=True)
class Result:
    """The answer to one question; `text` is the error, or what a success has to say."""

    category: str
    question: str
    outcome: Outcome
    text: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Clock:
    """How the run sees time: monotonic seconds and a pause."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


OnWait = Callable[[str], None]


async def run(
    categories: Sequence[Category], *, wait_s: float, clock: Clock, on_wait: OnWait
) -> AsyncIterator[Result]:
    """Yields answers in order; stops after a fatal failure.

    Args:
        categories: In the order to print.
        wait_s: How long retryable checks are asked again, counted over the whole run.
        clock: Time.
        on_wait: Called with what is waited for before each retry, and with "" after.
    """
    deadline = clock.now() + wait_s
    for category in categories:
        for check in category.checks:
            try:
                outcome, text = await _ask(check, deadline, clock, on_wait)
            except Skip:
                continue
            failed = outcome is not Outcome.SUCCESS
            hint = HINT_ROOT + check.anchor if failed else ""
            yield Result(category.name, check.question, outcome, text, hint)
            if outcome is Outcome.ERROR and check.fatal:
                return


async def _ask(check: Check, deadline: float, clock: Clock, on_wait: OnWait) -> tuple[Outcome, str]:
    try:
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_S):
                    return Outcome.SUCCESS, await check.probe() or ""
            except (LinkerdError, TimeoutError) as error:
                text = _text(error)
                remedy = check.remedy or getattr(error, "hint", None)
            if not check.retry or clock.now() >= deadline:
                text = f"{text}\n{remedy}" if remedy else text
                return (Outcome.WARNING if check.warning else Outcome.ERROR), text
            on_wait(text if check.surface else "waiting for check to complete")
            await clock.sleep(min(RETRY_S, max(0.05, deadline - clock.now())))
    finally:
        on_wait("")


def _text(error: LinkerdError | TimeoutError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {ATTEMPT_S:.0f} seconds"
    return error.message


def passed(results: Sequence[Result]) -> bool:
    """Returns whether no answer is an error; warnings do not count."""
    return all(result.outcome is not Outcome.ERROR for result in results)


def failed(first: str, details: Sequence[str] = ()) -> CheckFailed:
    """Returns the error with a sentence and a bullet per offending thing."""
    return CheckFailed("\n".join([first, *(f"\t* {line}" for line in details)]))
