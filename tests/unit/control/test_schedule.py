"""Schedules of jobs: what crontab(5) says, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.model.schedule import Schedule, next_after, parse

SECOND_NS = 1_000_000_000


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text + "+00:00").timestamp()) * SECOND_NS


@pytest.mark.parametrize(
    ("schedule", "after", "then"),
    [
        ("* * * * *", "2026-01-01T00:00:00", "2026-01-01T00:01"),
        ("*/5 * * * *", "2026-01-01T00:04:59", "2026-01-01T00:05"),
        ("*/5 * * * *", "2026-01-01T23:55:00", "2026-01-02T00:00"),
        ("7/20 3 * * *", "2026-01-01T03:07:00", "2026-01-01T03:27"),
        ("0 9-17/4 * * *", "2026-01-01T13:00:00", "2026-01-01T17:00"),
        ("30 2,4 * * *", "2026-01-01T02:30:00", "2026-01-01T04:30"),
        ("0 0 1 * *", "2026-01-31T10:00:00", "2026-02-01T00:00"),
        ("0 0 31 * *", "2026-01-31T00:00:00", "2026-03-31T00:00"),
        ("0 12 * * MON-FRI", "2026-01-02T12:00:00", "2026-01-05T12:00"),
        ("0 12 * * 7", "2026-01-02T12:00:00", "2026-01-04T12:00"),
        ("0 0 29 feb *", "2096-03-01T00:00:00", "2104-02-29T00:00"),
        ("0 0 13 * 5", "2026-01-01T00:00:00", "2026-01-02T00:00"),  # either day will do
        ("0 0 */2 * 5", "2026-01-01T00:00:00", "2026-01-09T00:00"),  # a star restricts nothing: both must hold
        ("@hourly", "2026-01-01T00:00:00", "2026-01-01T01:00"),
        ("@weekly", "2026-01-01T00:00:00", "2026-01-04T00:00"),
    ],
)
def test_the_next_time(schedule: str, after: str, then: str) -> None:
    assert next_after(parse(schedule), ns(after)) == ns(then)


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "*/x * * * *",
     "a * * * *", "-1 * * * *", "1,,2 * * * *", "@never", "0 0 30 2 *", "0 0 31 4,6 *", "٣ * * * *", "* * * * *" + " " * 300],
)  # fmt: skip
def test_what_says_nothing_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="invalid schedule"):
        parse(text)


def words(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    return st.one_of(st.just("*"), number.map(str), st.tuples(number, number).map(lambda p: f"{min(p)}-{max(p)}"), st.integers(1, high).map("*/{}".format))


SCHEDULES = st.tuples(words(0, 59), words(0, 23), words(1, 28), words(1, 12), words(0, 6)).map(lambda w: parse(" ".join(w)))


@given(schedule=SCHEDULES, start_s=st.integers(0, 2**32))
def test_it_is_the_first_minute_that_the_fields_name(schedule: Schedule, start_s: int) -> None:
    due_ns = next_after(schedule, start_s * SECOND_NS)
    assert due_ns is not None
    assert due_ns > start_s * SECOND_NS
    assert named(schedule, due_ns)
    minute_ns = 60 * SECOND_NS
    before = range(max(due_ns - 1500 * minute_ns, (start_s // 60 + 1) * minute_ns), due_ns, minute_ns)
    assert not any(named(schedule, at_ns) for at_ns in before)


def named(schedule: Schedule, at_ns: int) -> bool:
    at = datetime.fromtimestamp(at_ns // SECOND_NS, UTC)
    by_day, by_weekday = at.day in schedule.days, at.isoweekday() % 7 in schedule.weekdays
    day = by_day or by_weekday if schedule.either_day else by_day and by_weekday
    return day and at.month in schedule.months and at.hour in schedule.hours and at.minute in schedule.minutes and at.second == 0
