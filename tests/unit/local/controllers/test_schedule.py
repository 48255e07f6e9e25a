"""Cron schedules; excludes what CronJobs do with them."""

from datetime import UTC, datetime

import pytest

from linkerd.local.controllers.schedule import parse


@pytest.mark.parametrize(
    ("text", "after", "run"),
    [
        ("* * * * *", "2026-11-21T08:00:30", "2026-11-21T08:01:00"),
        ("*/15 * * * *", "2026-11-21T08:15:00", "2026-11-21T08:30:00"),
        ("0 3 * * *", "2026-11-21T08:00:00", "2026-11-22T03:00:00"),
        ("0 0 1 jan *", "2026-11-21T08:00:00", "2027-01-01T00:00:00"),
        ("0 0 * * mon", "2026-11-21T08:00:00", "2026-11-23T00:00:00"),
        ("0 0 13 * fri", "2026-11-21T08:00:00", "2026-11-27T00:00:00"),
        ("0 0 29 2 *", "2026-11-21T08:00:00", "2028-02-29T00:00:00"),
        ("@hourly", "2026-11-21T08:00:00", "2026-11-21T09:00:00"),
        ("10-20/5 8 * * *", "2026-11-21T08:11:00", "2026-11-21T08:15:00"),
    ],
)
def test_the_next_run(text: str, after: str, run: str) -> None:
    when = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert datetime.fromisoformat(run).replace(tzinfo=UTC) == parse(text).after(when)


def test_a_date_that_never_comes_has_no_run() -> None:
    assert parse("0 0 31 2 *").after(datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "* * * * 8", "*/0 * * * *", "5-1 * * * *", "x * * * *"]
)
def test_text_that_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"fields|between|step|begins"):
        parse(text)
