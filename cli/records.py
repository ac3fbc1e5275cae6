"""Fields between commas, which may stand in quotation marks: one record, as Go's encoding/csv reads it. Pure. Source: RFC 4180, encoding/csv for the words."""

from __future__ import annotations

from typing import Final

_QUOTE: Final = '"'


def fields_of(text: str) -> list[str]:
    """Raises ValueError."""
    if not text:
        raise ValueError("EOF")
    found: list[str] = []
    at = 0
    while True:
        field, at = _quoted(text, at + 1) if text.startswith(_QUOTE, at) else _bare(text, at)
        found.append(field)
        if at == len(text):
            return found
        at += 1  # its comma


def _bare(text: str, at: int) -> tuple[str, int]:
    """(the field, where it ends)."""
    end = text.find(",", at)
    end = len(text) if end < 0 else end
    mark = text.find(_QUOTE, at, end)
    if mark >= 0:
        raise _wrong(text, mark, 'bare " in non-quoted-field')
    return text[at:end], end


def _quoted(text: str, at: int) -> tuple[str, int]:
    """The same behind its first mark; two marks are one."""
    field = ""
    while True:
        mark = text.find(_QUOTE, at)
        if mark < 0:
            raise _wrong(text, len(text), 'extraneous or missing " in quoted-field')
        field += text[at:mark]
        if text.startswith(_QUOTE, mark + 1):
            field, at = field + _QUOTE, mark + 2
        elif mark + 1 == len(text) or text[mark + 1] == ",":
            return field, mark + 1
        else:
            raise _wrong(text, mark, 'extraneous or missing " in quoted-field')


def _wrong(text: str, at: int, what: str) -> ValueError:
    return ValueError(f"parse error on line 1, column {len(text[:at].encode()) + 1}: {what}")
