"""What a template's numbers, characters and strings are worth. Pure. Source: Go's strconv; text/template's parse package for the words."""

from __future__ import annotations

import re
from typing import Final

INT_LIMIT: Final = 1 << 63
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([abfnrtv\\'\"]))|(\\)|([^\\]+)")
_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}
_OLD_OCTAL: Final = re.compile(r"([+-]?)0([0-7_]+)")


def number_of(text: str) -> tuple[str, int | float | complex]:
    """(int, float, complex, or uint for one that is too large for an int; its value). Raises ValueError in Go's words."""
    if text.startswith("'"):
        inner = {"\\'": "'", '"': '\\"', '\\"': ""}.get(text[1:-1], text[1:-1])
        character = unquoted(f'"{inner}"')
        if character is None or len(character) != 1:
            raise ValueError(f"malformed character constant: {text}")
        return "int", ord(character)
    if text.endswith("i"):
        return "complex", complex(0, float(number_of(text[:-1])[1].real))
    whole = _integer(text)
    if whole is not None and -INT_LIMIT <= whole < 2 * INT_LIMIT:
        return ("int" if whole < INT_LIMIT else "uint"), whole
    value = _float(text)
    if value is None:
        raise ValueError(f'illegal number syntax: "{text}"')
    if not set(text) & set(".eEpP"):
        raise ValueError(f'integer overflow: "{text}"')
    return "float", value


def _integer(text: str) -> int | None:
    old = _OLD_OCTAL.fullmatch(text)
    try:
        return int(old[1] + old[2], 8) if old else int(text, 0)
    except ValueError:
        return None


def _float(text: str) -> float | None:
    try:
        return float.fromhex(text) if "x" in text.lower() else float(text)
    except (ValueError, OverflowError):
        return None


def unquoted(text: str) -> str | None:
    """The value of a string of either form; None when an escape is none."""
    if text[0] == "`":
        return text[1:-1].replace("\r", "")
    parts = []
    for match in _ESCAPE.finditer(text[1:-1]):
        byte, short, long, octal, simple, wrong, rest = match.groups()
        if wrong or (simple == "'"):
            return None
        code = int(byte or short or long or "0", 16) if not octal else int(octal, 8)
        if code > 0x10FFFF:
            return None
        parts.append(rest or (_SIMPLE[simple] if simple else chr(code)))
    return "".join(parts)
