"""Go's layouts: how the time of the reference, Mon Jan 2 15:04:05 MST 2006, is written says how another one is. Pure.

What is no part of that time stands for itself. Source: Go's time package, its constants and `Format`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from cluster.model.go_clock import DAYS, MONTHS, Clock, Moment, clock

PRINTED: Final = "2006-01-02 15:04:05.999999999 -0700 MST"
"""As a time prints; a zone without a name is its offset twice."""

_OFFSETS: Final = "07:00:00", "070000", "07:00", "0700", "07"
_FRACTION: Final = r"[.,](?:0+|9+)(?![0-9])"
_PARTS: Final = re.compile(
    "|".join(("January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|0[1-6]|002|15|1|2006|2|__2|_2(?!006)|3|4|5|PM|pm",
              *(sign + offset for sign in "-Z" for offset in _OFFSETS), _FRACTION))
)  # fmt: skip


def formatted(when: Moment, layout: str) -> str:
    """The time in that layout."""
    shown = clock(when)

    def one(found: re.Match[str]) -> str:
        part = found[0]
        if part[0] in ".,":
            return _fraction(shown.nanosecond, part)
        if part[0] in "-Z":
            return _offset(shown.offset_s, part)
        return _SAID[part](shown)

    return _PARTS.sub(one, layout)


def _fraction(nanosecond: int, part: str) -> str:
    """`.000`: so many digits; `.999`: without the zeros at the end, and nothing if there are no others."""
    digits = f"{nanosecond:09}"[: len(part) - 1]
    return part[0] + digits if part[1] == "0" else (part[0] + digits.rstrip("0")).rstrip(part[0])


def _offset(offset_s: int, part: str) -> str:
    if part[0] == "Z" and not offset_s:
        return "Z"
    minutes, seconds = divmod(abs(offset_s), 60)
    pieces = (f"{minutes // 60:02}", f"{minutes % 60:02}", f"{seconds:02}")
    digits = sum(character.isdigit() for character in part)
    return ("-" if offset_s < 0 else "+") + (":" if ":" in part else "").join(pieces[: digits // 2])


def _year(year: int) -> str:
    return f"{'-' if year < 0 else ''}{abs(year):04}"


def _hour12(shown: Clock) -> int:
    return shown.hour % 12 or 12


_SAID: Final[Mapping[str, Callable[[Clock], str]]] = {
    "January": lambda shown: MONTHS[shown.month - 1],
    "Jan": lambda shown: MONTHS[shown.month - 1][:3],
    "1": lambda shown: str(shown.month),
    "01": lambda shown: f"{shown.month:02}",
    "Monday": lambda shown: DAYS[shown.weekday],
    "Mon": lambda shown: DAYS[shown.weekday][:3],
    "2": lambda shown: str(shown.day),
    "_2": lambda shown: f"{shown.day:2}",
    "02": lambda shown: f"{shown.day:02}",
    "__2": lambda shown: f"{shown.day_of_year:3}",
    "002": lambda shown: f"{shown.day_of_year:03}",
    "15": lambda shown: f"{shown.hour:02}",
    "3": lambda shown: str(_hour12(shown)),
    "03": lambda shown: f"{_hour12(shown):02}",
    "4": lambda shown: str(shown.minute),
    "04": lambda shown: f"{shown.minute:02}",
    "5": lambda shown: str(shown.second),
    "05": lambda shown: f"{shown.second:02}",
    "2006": lambda shown: _year(shown.year),
    "06": lambda shown: f"{max(shown.year, 0) % 100:02}",
    "PM": lambda shown: "PM" if shown.hour >= 12 else "AM",
    "pm": lambda shown: "pm" if shown.hour >= 12 else "am",
    "MST": lambda shown: shown.zone or _offset(shown.offset_s, "-0700"),
}
