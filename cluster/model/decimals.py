"""Texts that are numbers. `str.isdigit` says yes to "²", and `int` no to thousands of digits: what comes from outside is asked here before it is read."""

from __future__ import annotations

from typing import Final

MAX_DIGITS: Final = 19


def is_natural(text: str) -> bool:
    """Whether it is a decimal number of at most MAX_DIGITS digits, without a sign."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def is_integer(text: str) -> bool:
    """The same, perhaps with a minus before it."""
    return is_natural(text.removeprefix("-"))
