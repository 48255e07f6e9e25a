"""Cron schedules: five fields, names, steps, ranges, `@hourly` and its like.

Source: crontab(5); robfig/cron/v3 parser.go, which Kubernetes uses.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
# Five years hold every date that a schedule can name, 29 February included.
_DAYS_AHEAD_MAX = 5 * 366


@dataclass(frozen=True)
class Schedule:
    """When a job runs: allowed minutes, hours, days, months and weekdays (0 is Sunday)."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def after(self, when: datetime.datetime) -> datetime.datetime | None:
        """Returns the first run strictly after `when`, None if there is none in five years."""
        day = when.date()
        for _ in range(_DAYS_AHEAD_MAX):
            if day.month in self.months and self._on(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        run = datetime.datetime.combine(
                            day, datetime.time(hour, minute), tzinfo=when.tzinfo
                        )
                        if run > when:
                            return run
            day += datetime.timedelta(days=1)
        return None

    def _on(self, day: datetime.date) -> bool:
        in_month = day.day in self.days
        in_week = (day.weekday() + 1) % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return in_month and in_week
        return in_month or in_week


def parse(text: str) -> Schedule:
    """Returns the schedule that `text` describes.

    Raises:
        ValueError: `text` is no schedule; says which part is wrong.
    """
    fields = _NAMED.get(text.strip(), text).split()
    if len(fields) != len(_RANGES):
        raise ValueError(f"{text!r} has {len(fields)} fields, expected 5")
    names = (None, None, None, _MONTHS, _DAYS)
    minutes, hours, days, months, weekdays = (
        _field(field, low, high, named)
        for field, (low, high), named in zip(fields, _RANGES, names, strict=True)
    )
    return Schedule(minutes, hours, days, months, weekdays, _any(fields[2]), _any(fields[4]))


def _any(field: str) -> bool:
    return field.startswith(("*", "?"))


def _field(field: str, low: int, high: int, names: list[str] | None) -> frozenset[int]:
    values: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if span in ("*", "?"):
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start, low, high, names)
            last = _number(end, low, high, names) if dash else (high if slash else first)
        if slash and (not step.isdigit() or int(step) == 0):
            raise ValueError(f"{part!r} has no valid step")
        if first > last:
            raise ValueError(f"{part!r} ends before it begins")
        values.update(range(first, last + 1, int(step) if slash else 1))
    return frozenset(values)


def _number(text: str, low: int, high: int, names: list[str] | None) -> int:
    if names and text.lower() in names:
        return names.index(text.lower()) + low
    if not text.isdigit() or not low <= int(text) <= high:
        raise ValueError(f"{text!r} is not between {low} and {high}")
    return int(text)
