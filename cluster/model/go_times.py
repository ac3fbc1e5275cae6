"""The methods of Go's times and durations. Pure. Source: Go's time package.

Not here: those that write into what is given (`Append…`) or give bytes of a form of Go's own, and those with several results, which no template can call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cluster.model.go_clock import DAY_S, LOCAL, SECOND, UNIX_S, UTC, Clock, Moment, Place, clock, rfc3339, seconds_of, time_source, zone_at
from cluster.model.go_layout import formatted
from cluster.model.go_values import Duration, Int, Location, Month, Slice, Time, Weekday, go_text
from cluster.model.template_functions import Function

_LIMIT: Final = 1 << 63
"""An int64 is below it."""


def _time(when: Moment) -> Time:
    return Time(rfc3339(when), when)


def _total(when: Moment) -> int:
    """Nanoseconds since Go's zero time."""
    return when.seconds * SECOND + when.nanoseconds


def _wrapped(number: int) -> Int:
    return Int((number + _LIMIT) % (2 * _LIMIT) - _LIMIT, "int64")


def _duration(nanoseconds: int) -> Duration:
    return Duration(max(-_LIMIT, min(nanoseconds, _LIMIT - 1)), "time.Duration")


def _at(time: Time, nanoseconds: int) -> Time:
    return _time(Moment(*divmod(nanoseconds, SECOND), time.moment().place))


def _in(time: Time, place: Place) -> Time:
    return _time(time.moment()._replace(place=place))


def _there(time: Time, location: Location | None) -> Time:
    if location is None:
        raise ValueError("time: missing Location in call to Time.In")
    return _in(time, location.place)


def _later(time: Time, years: int, months: int, days: int) -> Time:
    """By the calendar, at the same hour there."""
    when = time.moment()
    shown = clock(when)
    local = seconds_of(shown.year + years, shown.month + months, shown.day + days) + (when.seconds + shown.offset_s) % DAY_S
    offset_s = zone_at(when.place, local)[0]
    offset_s = zone_at(when.place, local - offset_s)[0]
    return _time(when._replace(seconds=local - offset_s))


def _rounded(number: int, to: int) -> int:
    """To the nearest multiple; from half of it on to the one above."""
    return number if to <= 0 else (2 * number + to) // (2 * to) * to


def _cut(number: int, to: int) -> int:
    return number if to <= 0 else number - number % to


def _of_size(change: Callable[[int, int], int]) -> Callable[[Duration, int], Duration]:
    """The same for what is less than nothing."""
    return lambda value, to: _duration(change(abs(int(value)), to) * (-1 if value < 0 else 1))


def _compared(one: Time, other: Time) -> int:
    first, second = _total(one.moment()), _total(other.moment())
    return (first > second) - (first < second)


def _daylight(time: Time) -> bool:
    when = time.moment()
    if when.place != LOCAL:
        return False
    from time import localtime

    return localtime(when.seconds - UNIX_S).tm_isdst > 0


def _shown(part: Callable[[Clock], Any]) -> Function:
    return Function(lambda time: part(clock(time.moment())))


def _since_1970(unit: int) -> Function:
    return Function(lambda time: _wrapped((_total(time.moment()) - UNIX_S * SECOND) // unit))


def _bytes(text: str) -> Slice:
    return Slice(list(text.encode()), "[]uint8")


def _per(nanoseconds: int) -> Function:
    """Whole ones and the rest apart, as Go adds them."""
    return Function(lambda value: (abs(value) // nanoseconds + abs(value) % nanoseconds / nanoseconds) * (-1 if value < 0 else 1))


def _whole(nanoseconds: int) -> Function:
    return Function(lambda value: Int(abs(value) // nanoseconds * (-1 if value < 0 else 1), "int64"))


DURATION_METHODS: Final[Mapping[str, Function]] = {
    "Hours": _per(3600 * SECOND),
    "Minutes": _per(60 * SECOND),
    "Seconds": _per(SECOND),
    "Milliseconds": _whole(10**6),
    "Microseconds": _whole(10**3),
    "Nanoseconds": _whole(1),
    "String": Function(go_text),
    "Round": Function(_of_size(_rounded), ("time.Duration",)),
    "Truncate": Function(_of_size(_cut), ("time.Duration",)),
    "Abs": Function(lambda value: _duration(abs(int(value)))),
}

TIME_METHODS: Final[Mapping[str, Function]] = {
    "Format": Function(lambda time, layout: formatted(time.moment(), layout), ("string",)),
    "String": Function(go_text),
    "GoString": Function(lambda time: time_source(time.moment())),
    "MarshalJSON": Function(lambda time: _bytes(f'"{time.json}"')),
    "MarshalText": Function(lambda time: _bytes(time.json)),
    "IsZero": Function(lambda time: not _total(time.moment())),
    "Year": _shown(lambda shown: shown.year),
    "Month": _shown(lambda shown: Month(shown.month, "time.Month")),
    "Day": _shown(lambda shown: shown.day),
    "Hour": _shown(lambda shown: shown.hour),
    "Minute": _shown(lambda shown: shown.minute),
    "Second": _shown(lambda shown: shown.second),
    "Nanosecond": _shown(lambda shown: shown.nanosecond),
    "Weekday": _shown(lambda shown: Weekday(shown.weekday, "time.Weekday")),
    "YearDay": _shown(lambda shown: shown.day_of_year),
    "Unix": _since_1970(SECOND),
    "UnixMilli": _since_1970(10**6),
    "UnixMicro": _since_1970(10**3),
    "UnixNano": _since_1970(1),
    "UTC": Function(lambda time: _in(time, UTC)),
    "Local": Function(lambda time: _in(time, LOCAL)),
    "In": Function(_there, ("*time.Location",)),
    "Location": Function(lambda time: Location(time.moment().place)),
    "IsDST": Function(_daylight),
    "Add": Function(lambda time, duration: _at(time, _total(time.moment()) + int(duration)), ("time.Duration",)),
    "AddDate": Function(_later, ("int", "int", "int")),
    "Sub": Function(lambda time, other: _duration(_total(time.moment()) - _total(other.moment())), ("time.Time",)),
    "Truncate": Function(lambda time, to: _at(time, _cut(_total(time.moment()), int(to))), ("time.Duration",)),
    "Round": Function(lambda time, to: _at(time, _rounded(_total(time.moment()), int(to))), ("time.Duration",)),
    "Before": Function(lambda time, other: _compared(time, other) < 0, ("time.Time",)),
    "After": Function(lambda time, other: _compared(time, other) > 0, ("time.Time",)),
    "Equal": Function(lambda time, other: not _compared(time, other), ("time.Time",)),
    "Compare": Function(_compared, ("time.Time",)),
}
