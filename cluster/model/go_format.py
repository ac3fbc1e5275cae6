"""Go's Sprintf for the values that templates have. It never fails: what doesn't fit is said in the text, as Go does (`%!d(string=x)`). Pure.

Not here: the verbs of complex numbers. Source: https://pkg.go.dev/fmt
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from cluster.model.go_values import Pointer, Slice, Struct, go_text, own_words, type_of

MAX_WIDTH: Final = 1_000_000
"""What Go takes for a width or precision."""

_VERB: Final = re.compile(r"%([#0+\- ]*)(\[[^\]]*\])?(\*|\d*)(?:(\.)(\*|\d*))?(\[[^\]]*\])?(.?)", re.DOTALL)
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
_BASES: Final = {"d": "d", "v": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
_PREFIXES: Final = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}


class _Form(NamedTuple):
    flags: str
    width: int
    precision: int | None
    verb: str


def printf(form: str, values: tuple[Any, ...]) -> str:
    """The text."""
    used = _Used(values)

    def one(found: re.Match[str]) -> str:
        flags, first, width, dot, precision, second, verb = found.groups()
        if not verb:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if first and not used.at(first):
            return f"%!{verb}(BADINDEX)"
        wide, exact = used.number(width), used.number(precision or "") if dot else None
        if second and not used.at(second):
            return f"%!{verb}(BADINDEX)"
        if used.next >= len(values):
            return f"%!{verb}({'BADINDEX' if used.chosen else 'MISSING'})"
        form = _Form(flags, wide, exact, verb)
        return _padded(_shown(used.take(), form, 0), form)

    out = _VERB.sub(one, form)
    waiting = () if used.chosen else values[used.next :]
    extra = ", ".join("<nil>" if value is None else f"{type_of(value)}={go_text(value)}" for value in waiting)
    return f"{out}%!(EXTRA {extra})" if waiting else out


class _Used:
    """Which of the values is next; `chosen`: whether the form ever said so itself (`%[2]d`), after which none is too many."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._values, self.next, self.chosen = values, 0, False

    def at(self, index: str) -> bool:
        self.chosen = True
        self.next = int(index[1:-1]) - 1 if index[1:-1].isdigit() else -1
        return 0 <= self.next < len(self._values)

    def take(self) -> Any:
        self.next += 1
        return self._values[self.next - 1]

    def number(self, text: str) -> int:
        if text == "*":
            value = self.take() if self.next < len(self._values) else 0
            return min(value, MAX_WIDTH) if isinstance(value, int) else 0
        return min(int(text or 0), MAX_WIDTH)


def _shown(value: Any, form: _Form, depth: int) -> str:
    """Without its padding."""
    verb = form.verb
    if verb == "T":
        return type_of(value)
    if verb == "p":
        return go_text(value, depth=1) if isinstance(value, Pointer) and value else _misfit(value, "p")
    if verb == "v":
        way = next((flag for flag in "#+" if flag in form.flags), "")
        return _signed(value, form) if type(value) is int and way != "#" else go_text(value, way)
    if isinstance(value, Pointer):
        return _at(value, form, depth)
    if verb in "sqxX":
        value = own_words(value) or value
    if isinstance(value, Struct) and value.fields:
        return "{" + " ".join(_shown(value[field[0]], form, depth + 1) for field in value.fields) + "}"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{_shown(key, form, depth + 1)}:{_shown(item, form, depth + 1)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, Slice) and value.type == "[]uint8" and verb in "sqxX":
        value = bytes(value).decode("latin-1" if verb in "xX" else "utf-8", "replace")
    if isinstance(value, list | tuple):
        return "[" + " ".join(_shown(item, form, depth + 1) for item in value) + "]"
    said: str | None = None
    if isinstance(value, bool):
        said = go_text(value) if verb == "t" else None
    elif isinstance(value, int):
        said = _integer(int(value), form)
    elif isinstance(value, float):
        said = f"{float(value):{'+' if '+' in form.flags else ''}.{6 if form.precision is None else form.precision}{verb}}" if verb in "eEfFgG" else None
    elif isinstance(value, str):
        said = _string(str.__str__(value), form)
    return _misfit(value, verb) if said is None else said


def _misfit(value: Any, verb: str) -> str:
    return f"%!{verb}(<nil>)" if value is None else f"%!{verb}({type_of(value)}={go_text(value)})"


def _at(pointer: Pointer, form: _Form, depth: int) -> str:
    if pointer and own_words(pointer.to) and form.verb in "sqxX":
        return _shown(pointer.to, form, depth)
    if pointer and not depth and isinstance(pointer.to, Mapping | list):
        return "&" + _shown(pointer.to, form, 1)
    address = int(go_text(pointer, depth=1), 16) if pointer else 0
    if form.verb in _BASES and form.verb != "v":
        return _signed(address, form)
    return _misfit(pointer, form.verb)


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
