"""The functions of `--format` templates, and how each refuses what it is not for. Pure. Source: text/template's builtins; docker/cli's templates package."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from cluster.model.go_values import Int, Map, Pointer, Struct, go_text, key_type, plain, pointee, type_of

MAX_PADDING: Final = 1_000_000
"""Spaces."""


class Function(NamedTuple):
    """`takes`: the types of its arguments; `more`: of as many more as one likes."""

    call: Callable[..., Any]
    takes: tuple[str, ...] = ()
    more: str = ""


class _Nothing(str):
    """What a field that isn't there reads as: empty as a condition."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


NO_VALUE: Final = _Nothing("<no value>")


def truth(value: Any) -> bool:
    """Whether Go takes the value for true: not empty, not zero, not nil. A struct always is."""
    return isinstance(value, Struct) or bool(value)


def as_json(value: Any) -> str:
    """Compact JSON, without escaping what HTML needs escaped."""
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def _index(value: Any, *keys: Any) -> Any:
    if value is None:
        raise TypeError("index of untyped nil")
    for key in keys:
        value = _indexed(value, key)
    return value


def _indexed(value: Any, key: Any) -> Any:
    if value is None or isinstance(value, Pointer):
        raise TypeError("index of nil pointer" if value is None or value.to is None else f"can't index item of type {type_of(value)}")
    if isinstance(value, Mapping) and not isinstance(value, Struct):
        wanted = key_type(type_of(value))
        if not isinstance(key, str) or (wanted != "string" and type_of(key) != wanted):
            raise TypeError(f"value is nil; should be of type {wanted}" if key is None else f"value has type {type_of(key)}; should be {wanted}")
        return value.get(key, value.empty if isinstance(value, Map) else "")
    if not isinstance(value, str | list | tuple):
        raise TypeError(f"can't index item of type {type_of(value)}")
    at = _place(key, len(value))
    if at == len(value):
        raise IndexError(f"reflect: {'string' if isinstance(value, str) else 'slice'} index out of range")
    return Int(value.encode()[at], "uint8") if isinstance(value, str) else value[at]


def _place(key: Any, limit: int) -> int:
    if key is None:
        raise TypeError("cannot index slice/array with nil")
    if not isinstance(key, int) or isinstance(key, bool):
        raise TypeError(f"cannot index slice/array with type {type_of(key)}")
    if not 0 <= key <= limit:
        raise IndexError(f"index out of range: {key}")
    return key


def _slice(value: Any, *bounds: Any) -> Any:
    """`slice x 1 3` is x[1:3]."""
    if value is None:
        raise TypeError("slice of untyped nil")
    if len(bounds) > 3:
        raise TypeError(f"too many slice indexes: {len(bounds)}")
    if isinstance(value, str) and len(bounds) == 3:
        raise TypeError("cannot 3-index slice a string")
    if not isinstance(value, str | list | tuple):
        raise TypeError(f"can't slice item of type {type_of(value)}")
    places = [0, len(value), len(value)]
    for number, bound in enumerate(bounds):
        places[number] = _place(bound, len(value))
    for before, after in ((places[0], places[1]), (places[1], places[2])):
        if before > after:
            raise IndexError(f"invalid slice index: {before} > {after}")
    return value[places[0] : places[1]]


def _len(value: Any) -> int:
    if value is None:
        raise TypeError("reflect: call of reflect.Value.Type on zero Value")
    value = pointee(value)
    if isinstance(value, Pointer):
        raise TypeError("len of nil pointer")
    if isinstance(value, Struct) or not isinstance(value, str | Mapping | list | tuple):
        raise TypeError(f"len of type {type_of(value)}")
    return len(value.encode() if isinstance(value, str) else value)


def _basic(value: Any) -> str:
    """The kind of what Go compares; empty for what it doesn't."""
    if isinstance(value, bool):
        return "bool"
    return next((name for kind, name in ((int, "int"), (float, "float"), (complex, "complex"), (str, "string")) if isinstance(value, kind)), "")


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise TypeError("missing argument for comparison")
    return any(_equal(first, other) for other in others)


def _equal(first: Any, other: Any) -> bool:
    if first is None or other is None:
        return first is other
    if _basic(first) != _basic(other):
        raise TypeError("incompatible types for comparison")
    if not _comparable(other):
        raise TypeError(_printf("non-comparable type %s: %s", other, type_of(other)))
    return bool(first == other)


def _comparable(value: Any) -> bool:
    """Lists and maps are not, nor is a struct that has one."""
    if isinstance(value, Struct):
        return all(map(_comparable, value.values()))
    return not isinstance(value, Mapping | list | tuple)


def _ne(first: Any, other: Any) -> bool:
    return not _equal(first, other)


def _lt(first: Any, other: Any) -> bool:
    kinds = _basic(first), _basic(other)
    if "" in kinds:
        raise TypeError("invalid type for comparison")
    if kinds[0] != kinds[1]:
        raise TypeError("incompatible types for comparison")
    if kinds[0] in {"bool", "complex"}:
        raise TypeError("invalid type for comparison")
    return bool(first < other)


def _le(first: Any, other: Any) -> bool:
    return _lt(first, other) or _equal(first, other)


def _and(*values: Any) -> Any:
    return next((v for v in values if not truth(v)), values[-1])


def _or(*values: Any) -> Any:
    return next((v for v in values if truth(v)), values[-1])


def _print(*values: Any) -> str:
    """A space stands between two of which neither is a string."""
    text = ""
    for number, value in enumerate(values):
        apart = number and not isinstance(value, str) and not isinstance(values[number - 1], str)
        text += f" {go_text(value)}" if apart else go_text(value)
    return text


def _printf(form: str, *values: Any) -> str:
    from cluster.model.go_format import printf  # for those who use it

    return printf(form, values)


def _joined(values: tuple[Any, ...]) -> str:
    """As html, js and urlquery see what they are given."""
    return _print(*(NO_VALUE if value is None else pointee(value) for value in values))


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus  # which costs as much as all the rest of this module

    return quote_plus(_joined(values))


def _title(text: str) -> str:
    """The first letter of each word as a capital, the others as they are."""
    return "".join(c.upper() if not before or not (before.isalnum() or before == "_") else c for before, c in zip(("", *text), text, strict=False))


def _pad(text: str, before: int, after: int) -> str:
    return " " * min(before, MAX_PADDING) + text + " " * min(after, MAX_PADDING) if text else ""


_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\N{REPLACEMENT CHARACTER}"})
_JS: Final = str.maketrans({"\\": "\\\\", "'": "\\'", '"': '\\"', **{chr(n): f"\\u{n:04X}" for n in (*range(32), *b"<>&=")}})

FUNCTIONS: Final[dict[str, Function]] = {
    "json": Function(as_json, ("any",)),
    "lower": Function(str.lower, ("string",)),
    "upper": Function(str.upper, ("string",)),
    "title": Function(_title, ("string",)),
    "split": Function(lambda text, separator: text.split(separator) if separator else list(text), ("string", "string")),
    "join": Function(lambda items, separator: separator.join(items), ("[]string", "string")),
    "truncate": Function(lambda text, limit: text[:limit], ("string", "int")),
    "pad": Function(_pad, ("string", "int", "int")),
    "println": Function(lambda *values: " ".join(go_text(v) for v in values) + "\n", more="any"),
    "print": Function(_print, more="any"),
    "printf": Function(_printf, ("string",), "any"),
    "len": Function(_len, ("any",)),
    "index": Function(_index, ("any",), "any"),
    "slice": Function(_slice, ("any",), "any"),
    "eq": Function(_eq, ("any",), "any"),
    "ne": Function(_ne, ("any", "any")),
    "lt": Function(_lt, ("any", "any")),
    "le": Function(_le, ("any", "any")),
    "gt": Function(lambda first, other: not _le(first, other), ("any", "any")),
    "ge": Function(lambda first, other: not _lt(first, other), ("any", "any")),
    "and": Function(_and, ("any",), "any"),
    "or": Function(_or, ("any",), "any"),
    "not": Function(lambda value: not truth(value), ("any",)),
    "call": Function(_index, ("any",), "any"),  # no template has a function as a value: templates.py says so
    "js": Function(lambda *values: _joined(values).translate(_JS), more="any"),
    "html": Function(lambda *values: _joined(values).translate(_HTML), more="any"),
    "urlquery": Function(_urlquery, more="any"),
}
