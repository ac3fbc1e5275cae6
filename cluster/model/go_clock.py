"""Go's times and durations: reading and reckoning, and Go's own words for them. Pure, but for this machine's zone. Source: Go's time package.

Layouts (`Format`) are in go_layout.py.
"""

from __future__ import annotations

import os
import re
import time
from datetime import date
from fractions import Fraction
from typing import Final, NamedTuple

_UNITS: Final = (("ms", 10**6), ("µs", 10**3), ("ns", 1))
SECOND: Final = 10**9
DAY_S: Final = 86_400
UNIX_S: Final = 62_135_596_800
"""Seconds from Go's zero time, the beginning of year 1, to 1970."""
_CYCLE_YEARS: Final = 400
_CYCLE_DAYS: Final = 146_097
"""After so many the calendar begins anew."""
MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_RFC3339: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)")


class Place(NamedTuple):
    """Of a time: UTC, this machine's zone (`Local`), or one that is no more than an `offset_s`."""

    name: str = ""
    offset_s: int = 0


UTC: Final = Place("UTC")
LOCAL: Final = Place("Local")


class Moment(NamedTuple):
    """`seconds`: since Go's zero time, in UTC; before it they are negative."""

    seconds: int
    nanoseconds: int
    place: Place


class Clock(NamedTuple):
    """What calendar and clock show where the time is. `weekday`: 0 is Sunday. `zone`: empty where it has no name."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    nanosecond: int
    weekday: int
    day_of_year: int
    offset_s: int
    zone: str


def moment(rfc3339: str) -> Moment:
    """Raises ValueError for what is no time."""
    found = _RFC3339.fullmatch(rfc3339)
    if found is None:
        raise ValueError(f"parsing time {rfc3339}: not as RFC 3339 has it")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    seconds = seconds_of(year, month, day) + hour * 3600 + minute * 60 + second
    nanoseconds = int((found[7] or "")[:9].ljust(9, "0"))
    if found[8] == "Z":
        return Moment(seconds, nanoseconds, UTC)
    offset_s = (int(found[8][1:3]) * 3600 + int(found[8][4:]) * 60) * (-1 if found[8][0] == "-" else 1)
    seconds -= offset_s
    return Moment(seconds, nanoseconds, LOCAL if zone_at(LOCAL, seconds)[0] == offset_s else Place("", offset_s))


def rfc3339(when: Moment) -> str:
    """As JSON has it."""
    shown = clock(when)
    fraction = f".{shown.nanosecond:09}".rstrip("0").rstrip(".")
    hours, minutes = divmod(abs(shown.offset_s) // 60, 60)
    zone = f"{'-' if shown.offset_s < 0 else '+'}{hours:02}:{minutes:02}" if shown.offset_s else "Z"
    return f"{shown.year:04}-{shown.month:02}-{shown.day:02}T{shown.hour:02}:{shown.minute:02}:{shown.second:02}{fraction}{zone}"


def seconds_of(year: int, month: int, day: int) -> int:
    """The midnight's; a month or day beyond the calendar's goes on into the next."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    cycle, within = divmod(year - 1, _CYCLE_YEARS)
    return (date(within + 1, month, 1).toordinal() + day - 2 + cycle * _CYCLE_DAYS) * DAY_S


def zone_at(place: Place, seconds: int) -> tuple[int, str]:
    """(offset in seconds, name) of a place at a time."""
    if place != LOCAL:
        return place.offset_s, place.name
    try:
        there = time.localtime(seconds - UNIX_S)
    except (OverflowError, OSError):  # no year that the C library has
        return 0, UTC.name
    return there.tm_gmtoff, there.tm_zone


def place_name(place: Place) -> str:
    """This machine's zone has the name that the environment gives it."""
    return os.environ.get("TZ", LOCAL.name) or UTC.name if place == LOCAL else place.name


def clock(when: Moment) -> Clock:
    offset_s, zone = zone_at(when.place, when.seconds)
    days, rest = divmod(when.seconds + offset_s, DAY_S)
    cycle, within = divmod(days, _CYCLE_DAYS)
    day = date.fromordinal(within + 1)
    return Clock(day.year + cycle * _CYCLE_YEARS, day.month, day.day, rest // 3600, rest // 60 % 60, rest % 60, when.nanoseconds, (days + 1) % 7,
                 (day - date(day.year, 1, 1)).days + 1, offset_s, zone)  # fmt: skip


def duration_text(nanoseconds: int) -> str:
    """As Go prints a duration: `1m30s`, `100ms`, `2160h0m0s`."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < SECOND:
        unit, size = next((unit, size) for unit, size in _UNITS if rest >= size)
        return f"{sign}{_trim(Fraction(rest, size))}{unit}"
    minutes, left = divmod(rest, 60 * SECOND)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_trim(Fraction(left, SECOND))}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def _trim(value: Fraction) -> str:
    return f"{float(value):.9f}".rstrip("0").rstrip(".") or "0"


def time_source(when: Moment) -> str:
    """A time as Go's source has it: `time.Date(2026, time.January, 2, 15, 4, 5, 100000000, time.UTC)`."""
    shown = clock(when)
    there = f"time.{when.place.name}" if when.place.name else 'time.Location("")'
    numbers = f"{shown.day}, {shown.hour}, {shown.minute}, {shown.second}, {shown.nanosecond}"
    return f"time.Date({shown.year}, time.{MONTHS[shown.month - 1]}, {numbers}, {there})"
