"""Sizes, durations, ages: read and written as Docker does."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import units
from cluster.model.go_clock import duration_text


@pytest.mark.parametrize(
    ("text", "number"),
    [("512", 512), ("64m", 64 << 20), ("1g", 1 << 30), ("1.5k", 1536), ("10 KiB", 10240), ("1B", 1), ("1e3k", 1_024_000), (".5k", 512),
     ("9e18k", -(1 << 63))],
)  # fmt: skip
def test_sizes_are_binary(text: str, number: int) -> None:
    assert units.parse_size(text) == number


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "invalid size: ''"),
        ("x", "invalid size: 'x'"),
        ("-1", "invalid size: '-1'"),
        ("1x", "invalid suffix: 'x'"),
        ("1KBx", "invalid suffix: 'kbx'"),
        ("1ib", "invalid suffix: 'ib'"),
        ("1.2.3", 'strconv.ParseFloat: parsing "1.2.3": invalid syntax'),
        (" 1k", 'strconv.ParseFloat: parsing " 1": invalid syntax'),
        ("1e999", 'strconv.ParseFloat: parsing "1e999": value out of range'),
    ],
)
def test_what_is_no_size_is_refused_in_dockers_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("1s", 10**9), ("1m30s", 90 * 10**9), ("1.5h", 5400 * 10**9), ("100ms", 10**8), ("0", 0), ("-2s", -2 * 10**9)],
)
def test_durations_as_gos(text: str, nanoseconds: int) -> None:
    assert units.parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x", 'time: invalid duration "x"'),
        ("", 'time: invalid duration ""'),
        ("1", 'time: missing unit in duration "1"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
    ],
)
def test_what_is_no_duration_is_refused_in_gos_words(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}$"):
        units.parse_duration(text)


@given(st.integers(0, 10**16))
def test_a_shown_duration_reads_back_as_itself(nanoseconds: int) -> None:
    shown = duration_text(nanoseconds)
    assert abs(units.parse_duration(shown) - nanoseconds) <= 1


def test_durations_are_shown_as_go_shows_them() -> None:
    shown = [duration_text(n) for n in (0, 10**8, 5 * 10**9, 90 * 10**9, 7776000 * 10**9, 1500)]
    assert shown == ["0s", "100ms", "5s", "1m30s", "2160h0m0s", "1.5µs"]


@pytest.mark.parametrize(("text", "nano"), [("0.5", 5 * 10**8), (".1", 10**8), ("2", 2 * 10**9), ("1/4", 25 * 10**7)])
def test_processors_are_counted_in_billionths(text: str, nano: int) -> None:
    assert units.parse_cpus(text) == nano


def test_bad_processors_are_refused() -> None:
    with pytest.raises(ValueError, match="value is too precise"):
        units.parse_cpus("0.0000000001")
    with pytest.raises(ValueError, match="failed to parse x as a rational number"):
        units.parse_cpus("x")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second"),
        (1.9, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_ages_in_words(seconds: float, text: str) -> None:
    assert units.human_duration(seconds) == text


def test_times_of_any_precision_and_never() -> None:
    assert units.parse_time("1970-01-01T00:00:01.5Z") == 1.5
    assert units.parse_time("1970-01-01T00:00:01.123456789Z") == pytest.approx(1.123456789)
    assert units.parse_time("1970-01-01T01:00:00+01:00") == 0
    assert units.parse_time("0001-01-01T00:00:00Z") == 0
    assert units.human_age("0001-01-01T00:00:00Z", 5) == "N/A"
    assert units.go_time("2026-11-23T07:10:42.51450Z") == "2026-11-23 07:10:42.5145 +0000 UTC"
    assert units.go_time("2026-11-23T07:10:42Z") == "2026-11-23 07:10:42 +0000 UTC"


def test_since_takes_a_duration_a_time_or_seconds() -> None:
    assert float(units.parse_since("10s", 100)) == 90
    assert units.parse_since("1700000000", 0) == "1700000000"
    assert units.parse_since("0", 100) == "0"
    assert float(units.parse_since("1970-01-01T00:01:00Z", 0)) == 60
    assert units.parse_since("2026-11-28T20:36:45.123456789Z", 0) == "1795898205.123456789"
    with pytest.raises(ValueError, match="failed to parse value as time or duration"):
        units.parse_since("yesterday", 0)


def test_sizes_in_words() -> None:
    assert [units.human_size(n) for n in (0, 999, 1982000, 4.26e9)] == ["0B", "999B", "1.98MB", "4.26GB"]
    assert units.binary_size(64 << 20) == "64MiB"
