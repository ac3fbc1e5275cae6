"""Numbers as people write and read them: sizes, durations, processors, ages. Pure: the time comes in.

Source: docker/go-units (sizes, HumanDuration) and Go's time.ParseDuration; the error texts are theirs.
"""

from __future__ import annotations

import re
from typing import Final

NANOSECONDS: Final[dict[str, int]] = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3600_000_000_000,
}
_BINARY: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SUFFIX: Final = re.compile(r"b|[kmgtp](?:i?b)?", re.IGNORECASE)
INT_LIMIT: Final = 1 << 63
_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)([a-zµ]*)")
_LONG_AGO: Final = "0001-01-01T00:00:00Z"


def parse_size(text: str) -> int:
    """Bytes of `64m`, `1.5GiB`, `512`: binary units. Raises ValueError in go-units' words."""
    end = max((at for at, character in enumerate(text) if character in "0123456789. "), default=-1)
    if end < 0:
        raise ValueError(f"invalid size: '{text}'")
    number, suffix = text[: end + (text[end] != " ")], text[end + 1 :]
    size = _go_float(number)
    if size < 0:
        raise ValueError(f"invalid size: '{text}'")
    if suffix and not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"invalid suffix: '{suffix if len(suffix) > 3 else suffix.lower()}'")
    size *= _BINARY[suffix[:1].lower().replace("b", "")]
    return int(size) if size < INT_LIMIT else -INT_LIMIT  # as Go counts


def _go_float(text: str) -> float:
    try:
        if text.strip() != text:
            raise ValueError
        value = float(text)
    except ValueError:
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from None
    if value in (float("inf"), float("-inf")) and text.strip("+-")[:1].isdigit():
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": value out of range')
    return value


def parse_cpus(text: str) -> int:
    """Billionths of a processor in `0.5`. Raises ValueError in Docker's words."""
    from fractions import Fraction

    try:
        value = Fraction(text) * 1_000_000_000
    except (ValueError, ZeroDivisionError) as e:
        raise ValueError(f"failed to parse {text} as a rational number") from e
    if value.denominator != 1:
        raise ValueError("value is too precise")
    return int(value)


def parse_duration(text: str) -> int:
    """Nanoseconds of `1m30s`, `100ms`, `0`. Raises ValueError in Go's words."""
    from fractions import Fraction

    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    total, position = Fraction(0), 0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            raise ValueError(f'time: invalid duration "{text}"')
        if not part[2]:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if part[2] not in NANOSECONDS:
            raise ValueError(f'time: unknown unit "{part[2]}" in duration "{text}"')
        total += Fraction(part[1].rstrip(".") or "0") * NANOSECONDS[part[2]]
        position = part.end()
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * int(total)


def parse_time(text: str) -> float:
    """Unix seconds of an RFC 3339 time with any number of fractional digits; 0 for never. Raises ValueError."""
    if not text or text == _LONG_AGO:
        return 0.0
    return float(_unix_seconds(text))


def _unix_seconds(text: str) -> str:
    """Every digit of the fraction stays: nanoseconds do not fit into a float. Raises ValueError."""
    from datetime import UTC, datetime

    main, _, rest = text.partition(".")
    fraction, zone = "", ""
    if rest:
        digits = re.match(r"\d+", rest)
        fraction = digits[0] if digits else ""
        zone = rest[len(fraction) :]
        main += zone
    moment = datetime.fromisoformat(main)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return f"{int(moment.timestamp())}.{fraction or 0}"


def go_time(timestamp: str) -> str:
    """An RFC 3339 time in UTC as Go prints it: `2026-11-23 07:10:42.5145 +0000 UTC`."""
    date, _, rest = timestamp.removesuffix("Z").partition("T")
    clock, _, fraction = rest.partition(".")
    fraction = fraction.rstrip("0")
    return f"{date} {clock}{'.' if fraction else ''}{fraction} +0000 UTC"


def parse_since(text: str, now: float) -> str:
    """A time flag (`42m`, RFC 3339, Unix seconds) as the API's Unix seconds. Raises ValueError."""
    if text != "0":  # the epoch, as for docker
        try:
            return f"{now - parse_duration(text) / 1e9:.9f}"
        except ValueError:
            pass
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return text
    try:
        return _unix_seconds(text)
    except ValueError as e:
        raise ValueError(f'failed to parse value as time or duration: "{text}"') from e


def human_duration(seconds: float) -> str:
    """`18 seconds`, `About a minute`, `2 days`: go-units' HumanDuration."""
    whole = int(seconds)
    minutes, hours = int(seconds / 60), int(seconds / 3600 + 0.5)
    steps = (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    )
    return next((text for holds, text in steps if holds), f"{int(seconds / 3600 / 24 / 365)} years")


def human_age(timestamp: str, now: float) -> str:
    """`2 days ago`; `N/A` for never."""
    then = parse_time(timestamp)
    return f"{human_duration(now - then)} ago" if then else "N/A"


def human_size(count: float, digits: int = 3) -> str:
    """`4.26MB`: decimal units, as image lists have it."""
    return _scaled(count, 1000.0, ("B", "kB", "MB", "GB", "TB", "PB", "EB"), digits)


def binary_size(count: float) -> str:
    """`64MiB`: binary units."""
    return _scaled(count, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"), 4)


def _scaled(count: float, base: float, units: tuple[str, ...], digits: int) -> str:
    step = 0
    while count >= base and step < len(units) - 1:
        count, step = count / base, step + 1
    return f"{count:.{digits}g}{units[step]}"
