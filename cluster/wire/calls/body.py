"""What every body of a call is, and the two that say hardly anything."""

from __future__ import annotations

import msgspec


class Body(msgspec.Struct, array_like=True, frozen=True):
    """Base of requests and answers."""


class Nothing(Body, frozen=True):
    pass


class Text(Body, frozen=True):
    text: str
