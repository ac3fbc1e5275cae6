"""Texts that are numbers. `str.isdigit` says yes to "²", and `int` no to thousands of digits: what comes from outside is asked here before it is read."""

from __future__ import annotations

from typing import Final

LARGEST: Final = str(2**63 - 1)
"""Go's int64, of Docker's requests; a message between processes has room for it."""


def is_natural(text: str) -> bool:
    """Whether it is a decimal number up to LARGEST, without a sign."""
    return text.isascii() and text.isdigit() and (len(text) < len(LARGEST) or (len(text) == len(LARGEST) and text <= LARGEST))


def is_integer(text: str) -> bool:
    """The same, perhaps with a minus before it."""
    return is_natural(text.removeprefix("-"))


def number_fault(text: str, *, signed: bool = True) -> str:
    """What Go's strconv has against a text that is no such number."""
    digits = text.removeprefix("-") if signed else text
    return "value out of range" if digits.isascii() and digits.isdigit() else "invalid syntax"
