"""When a job runs by itself: `*/5 * * * *` in the label festoon.schedule, read as cron reads it, in UTC.

Owns the grammar (crontab(5): five fields, lists, ranges, steps, names of months and days, @hourly and its kin; where both days
are restricted, either will do) and the arithmetic; never reads a clock. Docker's API has no field for a schedule, and its client keeps
labels. In UTC no hour is ever missing or doubled, which leaves nothing for a library to do.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

LABEL: Final = "festoon.schedule"
MAX_LENGTH: Final = 256  # characters
HORIZON_DAYS: Final = 8 * 366 + 1
"""29 February is never further away: the longest gap is that around 2100."""

_MONTHS: Final = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS: Final = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: Final[tuple[tuple[str, int, int, Mapping[str, int]], ...]] = (
    ("minute", 0, 59, {}), ("hour", 0, 23, {}), ("day of the month", 1, 31, {}), ("month", 1, 12, _MONTHS), ("day of the week", 0, 7, _DAYS),
)  # fmt: skip
_MACROS: Final = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip


class Schedule(NamedTuple):
    """The minutes, hours and so on that it names; `either_day`: a day of the month or of the week is enough."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0: Sunday
    either_day: bool


def of(labels: Iterable[tuple[str, str]]) -> str:
    """The schedule that a service's labels ask for; empty when they ask for none."""
    return next((value for key, value in labels if key == LABEL), "")


def parse(text: str) -> Schedule:
    """Raises ValueError with one sentence."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"invalid schedule: it is longer than {MAX_LENGTH} characters")
    words = _MACROS.get(text.strip().lower(), text).split()
    if len(words) != len(_FIELDS):
        raise ValueError(f"invalid schedule '{text}': it has five fields (minute hour day month weekday), as in '*/5 * * * *'")
    try:
        minutes, hours, days, months, weekdays = (_field(word, *field) for word, field in zip(words, _FIELDS, strict=True))
    except ValueError as error:
        raise ValueError(f"invalid schedule '{text}': {error}") from error
    weekdays = frozenset(day % 7 for day in weekdays)
    schedule = Schedule(minutes, hours, days, months, weekdays, not words[2].startswith("*") and not words[4].startswith("*"))
    if next_after(schedule, 0) is None:
        raise ValueError(f"invalid schedule '{text}': that day never comes")
    return schedule


def _field(word: str, name: str, low: int, high: int, names: Mapping[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        if slash and not (step_text.isascii() and step_text.isdigit() and 0 < int(step_text) <= high):
            raise ValueError(f"'{part}' is no step of the {name}")
        first_text, dash, last_text = span.partition("-")
        if span == "*":
            first, last = low, high
        else:
            first = _number(first_text, name, low, high, names)
            last = _number(last_text, name, low, high, names) if dash else high if slash else first
        if first > last:
            raise ValueError(f"'{part}' is no range of the {name}")
        found.update(range(first, last + 1, int(step_text) if slash else 1))
    return frozenset(found)


def _number(text: str, name: str, low: int, high: int, names: Mapping[str, int]) -> int:
    number = names.get(text.lower())
    if number is None and text.isascii() and text.isdigit() and len(text) <= 2:
        number = int(text)
    if number is None or not low <= number <= high:
        raise ValueError(f"'{text}' is no {name} ({low}-{high})")
    return number


def next_after(schedule: Schedule, after_ns: int) -> int | None:
    """The first minute of the schedule that begins later than this (Unix time, ns); None when there is none."""
    minute = datetime.fromtimestamp(after_ns // 1_000_000_000, UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    day = minute.date()
    for _ in range(HORIZON_DAYS):
        if _has_day(schedule, day.month, day.day, day.isoweekday() % 7):
            earliest = (minute.hour, minute.minute) if day == minute.date() else (0, 0)
            found = next(((h, m) for h in sorted(schedule.hours) for m in sorted(schedule.minutes) if (h, m) >= earliest), None)
            if found is not None:
                at = datetime(day.year, day.month, day.day, *found, tzinfo=UTC)
                return int(at.timestamp()) * 1_000_000_000
        day += timedelta(days=1)
    return None


def _has_day(schedule: Schedule, month: int, day: int, weekday: int) -> bool:
    if month not in schedule.months:
        return False
    if schedule.either_day:
        return day in schedule.days or weekday in schedule.weekdays
    return day in schedule.days and weekday in schedule.weekdays
