"""Answers as text: Linkerd's table, its short form and JSON.

Source: linkerd2 pkg/healthcheck/healthcheck_output.go (layout, symbols, keys of JSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from linkerd.check.engine import Outcome, Result, passed

SYMBOLS = {Outcome.SUCCESS: "√", Outcome.WARNING: "‼", Outcome.ERROR: "×"}
_COLORS = {
    Outcome.SUCCESS: "\033[32;1m",
    Outcome.WARNING: "\033[33;1m",
    Outcome.ERROR: "\033[31;1m",
}
_INDENT = " " * 4


class Table:
    """Turns a run's answers into lines, one by one as they come.

    Args:
        color: Paint the symbols; for terminals.
        short: Leave out successes and the headings of categories without any other answer.
    """

    def __init__(self, *, color: bool = False, short: bool = False) -> None:
        self._color = color
        self._short = short
        self._category = ""

    def lines(self, result: Result) -> list[str]:
        """Returns the lines of one answer, led by its category's heading when that is new."""
        if self._short and result.outcome is Outcome.SUCCESS:
            return []
        lines: list[str] = []
        if result.category != self._category:
            if self._category:
                lines.append("")
            lines += [result.category, "-" * len(result.category)]
            self._category = result.category
        lines.append(f"{self.symbol(result.outcome)} {result.question}")
        if result.text:
            lines += [_INDENT + line for line in result.text.replace("\t", _INDENT).split("\n")]
        if result.hint:
            lines.append(f"{_INDENT}see {result.hint} for hints")
        return lines

    def end(self, results: Sequence[Result]) -> list[str]:
        """Returns the last lines: the verdict over `results`."""
        outcome = Outcome.SUCCESS if passed(results) else Outcome.ERROR
        gap = [""] if self._category else []
        return [*gap, f"Status check results are {self.symbol(outcome)}"]

    def symbol(self, outcome: Outcome) -> str:
        """Returns the sign of an outcome."""
        sign = SYMBOLS[outcome]
        return f"{_COLORS[outcome]}{sign}\033[0m" if self._color else sign


def as_json(results: Iterable[Result]) -> str:
    """Returns one JSON object over all answers, indented by two."""
    answers = list(results)
    categories: dict[str, list[dict[str, str]]] = {}
    for answer in answers:
        entry = {"description": answer.question}
        if answer.hint:
            entry["hint"] = answer.hint
        if answer.outcome is not Outcome.SUCCESS:
            entry["error"] = answer.text
        entry["result"] = answer.outcome.value
        categories.setdefault(answer.category, []).append(entry)
    listed = [{"categoryName": name, "checks": checks} for name, checks in categories.items()]
    return json.dumps({"success": passed(answers), "categories": listed}, indent=2)
