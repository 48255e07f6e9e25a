"""The rows of the scorecard: a claim, how it is measured, and the bar."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Line:
    """One measured claim; `bar` is its limit as people read it, `passed` the verdict."""

    row: str
    name: str
    value: float
    unit: str
    bar: str
    passed: bool
    note: str = ""

    def __str__(self) -> str:
        verdict = "PASS" if self.passed else "FAIL"
        note = f"  # {self.note}" if self.note else ""
        return f"{self.row} {self.name} {self.value:g} {self.unit} {self.bar} {verdict}{note}"

    def as_json(self) -> dict[str, object]:
        """The line as the result file holds it."""
        return asdict(self)


def at_most(row: str, name: str, value: float, unit: str, limit: float, note: str = "") -> Line:
    """A line whose value must not exceed `limit`."""
    return Line(row, name, round(value, 3), unit, f"<={limit:g}", value <= limit, note)


def at_least(row: str, name: str, value: float, unit: str, limit: float, note: str = "") -> Line:
    """A line whose value must reach `limit`."""
    return Line(row, name, round(value, 3), unit, f">={limit:g}", value >= limit, note)


def exactly(row: str, name: str, value: float, unit: str, wanted: float, note: str = "") -> Line:
    """A line whose value must be `wanted`."""
    return Line(row, name, value, unit, f"={wanted:g}", value == wanted, note)


# A row yields its lines as they become known.
Check = Callable[[], Iterator[Line]]
