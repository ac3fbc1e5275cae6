"""Go's own words for a duration and for a time. Pure. Source: Go's time package, the String methods."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

_UNITS: Final = (("ms", 10**6), ("µs", 10**3), ("ns", 1))
SECOND: Final = 10**9
_MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_ZERO: Final = "0001-01-01 00:00:00 +0000 UTC"


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


def time_text(rfc3339: str) -> str:
    """`2026-01-02T15:04:05.1Z` as `2026-01-02 15:04:05.1 +0000 UTC`; another zone has no name, but its offset twice."""
    day, _, clock = rfc3339.partition("T")
    if not clock:
        return rfc3339 or _ZERO
    if clock.endswith("Z"):
        zone = "+0000 UTC"
        clock = clock[:-1]
    else:
        clock, offset = clock[:-6], clock[-6:].replace(":", "")
        zone = f"{offset} {offset}"
    whole, dot, fraction = clock.partition(".")
    fraction = fraction.rstrip("0")
    return f"{day} {whole}{dot if fraction else ''}{fraction} {zone}"


def time_source(rfc3339: str) -> str:
    """A time as Go's source has it: `time.Date(2026, time.January, 2, 15, 4, 5, 100000000, time.UTC)`."""
    day, _, clock = rfc3339.removesuffix("Z").partition("T")
    year, month, date = (int(part) for part in day.split("-"))
    whole, _, fraction = clock.partition(".")
    hour, minute, second = (int(part) for part in whole[:8].split(":"))
    return f"time.Date({year}, time.{_MONTHS[month - 1]}, {date}, {hour}, {minute}, {second}, {int(fraction[:9].ljust(9, '0'))}, time.UTC)"
