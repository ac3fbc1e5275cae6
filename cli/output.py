"""How results look: tables as Docker's, shortened ids and texts. Pure: returns text, prints nothing.

Source: Go's text/tabwriter as docker/cli sets it up (cells at least 10 wide, 3 spaces between, the last cell free).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

CELL_WIDTH: Final = 10
CELL_PADDING: Final = 3
SHORT_ID: Final = 12


def aligned(lines: Sequence[str], *, width: int = CELL_WIDTH, padding: int = CELL_PADDING) -> str:
    """Lines whose cells are separated by tabs, as columns. A column is as wide as its widest cell among adjacent
    lines that have it; the text after a line's last tab is free."""
    rows = [line.split("\t") for line in lines]
    texts = ["" for _ in rows]
    _align(rows, texts, 0, len(rows), 0, width, padding)
    return "".join(text + "\n" for text in texts)


def _align(rows: list[list[str]], texts: list[str], start: int, end: int, column: int, width: int, padding: int) -> None:
    at = start
    while at < end:
        if len(rows[at]) <= column + 1:
            texts[at] += rows[at][column] if column < len(rows[at]) else ""
            at += 1
            continue
        stop = at
        while stop < end and len(rows[stop]) > column + 1:
            stop += 1
        widths = [display_width(rows[i][column]) for i in range(at, stop)]
        size = max(width, *(one + padding for one in widths))
        for i, one in zip(range(at, stop), widths, strict=True):
            texts[i] += rows[i][column] + " " * (size - one)
        _align(rows, texts, at, stop, column + 1, width, padding)
        at = stop


def short_id(text: str) -> str:
    """The first 12 characters of an id, without the name of its digest."""
    return text.partition(":")[2][:SHORT_ID] if ":" in text else text[:SHORT_ID]


def display_width(text: str) -> int:
    """In columns of a terminal, of which Chinese and Japanese characters take two."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    from unicodedata import east_asian_width  # for who needs it

    return 2 if east_asian_width(character) in "WF" else 1


def ellipsis(text: str, limit: int) -> str:
    """The text in at most `limit` columns, the last one `…` where something is missing."""
    if display_width(text) <= limit:
        return text
    kept = text[: limit - 1]
    while display_width(kept) >= limit:
        kept = kept[:-1]
    return kept + "…"


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key under which `web.2` comes before `web.10`."""
    parts: list[tuple[int, int | str]] = []
    digits = ""
    for character in text:
        if character.isdigit() and character.isascii():
            digits += character
            continue
        if digits:
            parts.append((0, int(digits)))
            digits = ""
        parts.append((1, character))
    return (*parts, (0, int(digits))) if digits else tuple(parts)
