"""Go's Sprintf for the values that templates have: text, numbers, booleans, lists, maps, nil. It never fails: what doesn't fit is said in the text, as Go
does (`%!d(string=x)`). Pure.

Not here: explicit argument indexes (`%[1]d`) and verbs of complex numbers and pointers. Source: https://pkg.go.dev/fmt
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

MAX_WIDTH: Final = 1_000_000
"""What Go takes for a width or precision."""

_VERB: Final = re.compile(r"%([#0+\- ]*)(\*|\d*)(?:(\.)(\*|\d*))?(.?)", re.DOTALL)
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
_BASES: Final = {"d": "d", "v": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
_PREFIXES: Final = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}


class _Form(NamedTuple):
    flags: str
    width: int
    precision: int | None
    verb: str


def printf(text: Callable[[Any], str], form: str, values: tuple[Any, ...]) -> str:
    """`text` is how Go prints a value by %v."""
    waiting = list(values)

    def one(found: re.Match[str]) -> str:
        flags, width, dot, precision, verb = found.groups()
        if not verb:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        wide, exact = _number(width, waiting), _number(precision or "", waiting) if dot else None
        if not waiting:
            return f"%!{verb}(MISSING)"
        return _padded(_shown(text, waiting.pop(0), _Form(flags, wide, exact, verb)), _Form(flags, wide, exact, verb))

    out = _VERB.sub(one, form)
    extra = ", ".join("<nil>" if value is None else f"{type_of(value)}={text(value)}" for value in waiting)
    return f"{out}%!(EXTRA {extra})" if waiting else out


def type_of(value: Any) -> str:
    """What Go calls its type, as far as a value that was JSON can say."""
    if value is None:
        return "<nil>"
    if isinstance(value, Mapping):
        return "map[string]interface {}" if not value or not all(isinstance(item, str) for item in value.values()) else "map[string]string"
    if isinstance(value, list | tuple):
        return "[]string" if all(isinstance(item, str) for item in value) else "[]interface {}"
    return {bool: "bool", int: "int", float: "float64"}.get(type(value), "string")


def _number(text: str, waiting: list[Any]) -> int:
    if text == "*":
        value = waiting.pop(0) if waiting else 0
        return min(value, MAX_WIDTH) if isinstance(value, int) else 0
    return min(int(text or 0), MAX_WIDTH)


def _shown(text: Callable[[Any], str], value: Any, form: _Form) -> str:
    """Without its padding."""
    verb = form.verb
    if verb == "T":
        return type_of(value)
    if isinstance(value, Mapping) and verb != "v":
        return "map[" + " ".join(f"{key}:{_shown(text, item, form)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list | tuple) and not hasattr(value, "_fields") and verb != "v":
        return "[" + " ".join(_shown(text, item, form) for item in value) + "]"
    said: str | None = None
    if verb == "v" and not ("#" in form.flags and isinstance(value, str)):
        said = _signed(value, form) if type(value) is int else text(value)
    elif isinstance(value, bool):
        said = text(value) if verb == "t" else None
    elif type(value) is int:
        said = _integer(value, form)
    elif isinstance(value, float):
        said = f"{value:{'+' if '+' in form.flags else ''}.{6 if form.precision is None else form.precision}{verb}}" if verb in "eEfFgG" else None
    elif isinstance(value, str):
        said = _string(value, form)
    if said is not None:
        return said
    return f"%!{verb}(<nil>)" if value is None else f"%!{verb}({type_of(value)}={text(value)})"


def _integer(value: int, form: _Form) -> str | None:
    if form.verb in _BASES:
        return _signed(value, form)
    if form.verb in "cq" and 0 <= value <= 0x10FFFF:
        return chr(value) if form.verb == "c" else f"'{chr(value)}'"
    if form.verb in "eEfFgG":
        return None
    return f"U+{value:04X}" if form.verb == "U" else None


def _signed(value: int, form: _Form) -> str:
    digits = f"{abs(value):{_BASES[form.verb]}}".rjust(form.precision or 0, "0")
    prefix = "0o" if form.verb == "O" else _PREFIXES.get(form.verb, "") if "#" in form.flags else ""
    return ("-" if value < 0 else "+" if "+" in form.flags else " " if " " in form.flags else "") + prefix + digits


def _string(value: str, form: _Form) -> str | None:
    cut = value if form.precision is None else value[: form.precision]
    if form.verb == "s":
        return cut
    if form.verb in "xX":
        shown = cut.encode().hex()
        return shown.upper() if form.verb == "X" else shown
    if form.verb in {"q", "v"}:
        return quoted(cut, ascii_only="+" in form.flags)
    return None


def quoted(text: str, *, ascii_only: bool = False) -> str:
    """As Go's strconv.Quote."""

    def one(character: str) -> str:
        if character in _ESCAPES:
            return _ESCAPES[character]
        if character.isprintable() and not (ascii_only and ord(character) > 126):
            return character
        code = ord(character)
        return f"\\x{code:02x}" if code < 128 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return '"' + "".join(map(one, text)) + '"'


def _padded(text: str, form: _Form) -> str:
    if "-" in form.flags or form.width < 0:
        return text.ljust(abs(form.width))
    if "0" in form.flags and (form.precision is None or form.verb in "eEfFgG"):
        sign = text[:1] if text[:1] in ("+", "-") else ""
        return sign + text[len(sign) :].rjust(form.width - len(sign), "0")
    return text.rjust(form.width)
