"""The functions of `--format` templates, and how Go prints a value. Pure.

Source: Go's fmt package (%v) and text/template's builtins; docker/cli's templates package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple


class NilList(tuple[Any, ...]):
    """A list that the API sends as null: Go prints it as an empty one, and as null in JSON."""

    __slots__ = ()


class NilMap(dict[str, Any]):
    """The same for a map."""

    __slots__ = ()


_LISTS: Final = frozenset({
    "Aliases", "Args", "Binds", "CapAdd", "CapDrop", "Cmd", "DNSNames", "DeviceCgroupRules", "DeviceRequests", "Devices", "Dns", "DnsOptions",
    "DnsSearch", "Entrypoint", "Env", "ExecIDs", "ExtraHosts", "GroupAdd", "Layers", "Links", "Log", "MaskedPaths", "Mounts", "OnBuild", "ReadonlyPaths",
    "RepoDigests", "RepoTags", "SecondaryIPAddresses", "SecondaryIPv6Addresses", "SecurityOpt", "Shell", "Test", "Ulimits", "VolumesFrom", "Warnings",
})  # fmt: skip
_MAPS: Final = frozenset({
    "Annotations", "DriverOpts", "ExposedPorts", "Labels", "Networks", "Options", "PortBindings", "Ports", "Status", "StorageOpt", "Sysctls", "Tmpfs",
    "Volumes",
})  # fmt: skip


FREE: Final = _MAPS | {"Attributes", "Options", "DriverConfig"}
"""Maps whose keys users choose: one that is not there is no mistake."""


def null(name: str) -> NilList | NilMap | None:
    """What a null in the field of that name is: in Go the type says it."""
    return NilList() if name in _LISTS else NilMap() if name in _MAPS else None


def unset(name: str, empty: Any) -> Any:
    """What a field is that an answer leaves out: an empty list or map is nil in Go."""
    if empty == []:
        return NilList()
    return NilMap() if empty == {} and name in _MAPS else empty


class Struct(dict[str, Any]):
    """An object of which an answer leaves out what is empty. `absent`: what those fields read as."""

    __slots__ = ("absent",)

    def __init__(self, fields: Mapping[str, Any], absent: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.absent = absent


class Nil(NamedTuple):
    """A pointer of that Go type that points at nothing."""

    type: str

    def __bool__(self) -> bool:
        return False


def go_text(value: Any) -> str:
    """As Go's %v: `map[a:b]`, `[a b]`, `true`, `<nil>`."""
    if value is None or isinstance(value, Nil):
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{go_text(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(go_text(item) for item in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def truth(value: Any) -> bool:
    """Whether Go takes the value for true: not empty, not zero."""
    return bool(value)


def as_json(value: Any) -> str:
    """Compact JSON, without escaping what HTML needs escaped."""
    return "null" if isinstance(value, NilList | NilMap | Nil) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "")
        elif isinstance(value, (str, list, tuple)) and isinstance(key, int):
            if not 0 <= key <= len(value):
                raise IndexError(f"index out of range: {key}")
            if key == len(value):
                raise IndexError(f"reflect: {'string' if isinstance(value, str) else 'slice'} index out of range")
            value = ord(value[key]) if isinstance(value, str) else value[key]
        else:
            raise TypeError("index of untyped nil" if value is None else f"can't index item of type {_KINDS.get(type(value), 'interface {}')}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    """`slice x 1 3` is x[1:3]. Raises IndexError where Go does."""
    first, last = (*bounds, len(value))[:2] if len(bounds) == 1 else (bounds or (0, len(value)))
    if not 0 <= first <= last <= len(value):
        raise IndexError(f"index out of range: {last if last > len(value) else first}")
    return value[first:last]


def _alike(a: Any, b: Any) -> bool:
    """True, or a TypeError where Go does not compare: text, numbers and booleans with their like."""
    kinds = (next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None) for value in (a, b))
    if len(set(kinds)) > 1 and a is not None and b is not None:
        raise TypeError("incompatible types for comparison")
    return True


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

    return printf(go_text, form, values)


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus  # which costs as much as all the rest of this module

    return quote_plus("".join(go_text(v) for v in values))


def _truncate(text: Any, limit: int) -> str:
    return go_text(text)[:limit]


def _title(text: str) -> str:
    """The first letter of each word as a capital, the others as they are."""
    return "".join(c.upper() if not before or not (before.isalnum() or before == "_") else c for before, c in zip(("", *text), text, strict=False))


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else ""


_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\N{REPLACEMENT CHARACTER}"})

_JS: Final = str.maketrans({"\\": "\\\\", "'": "\\'", '"': '\\"', **{chr(n): f"\\u{n:04X}" for n in (*range(32), *b"<>&=")}})
_KINDS: Final = {int: "int", float: "float64", bool: "bool"}

FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "json": as_json,
    "lower": lambda text: go_text(text).lower(),
    "upper": lambda text: go_text(text).upper(),
    "title": lambda text: _title(go_text(text)),
    "split": lambda text, separator: go_text(text).split(separator) if separator else list(go_text(text)),
    "join": lambda items, separator: separator.join(go_text(i) for i in items or ()),
    "truncate": _truncate,
    "pad": _pad,
    "println": lambda *values: " ".join(go_text(v) for v in values) + "\n",
    "print": _print,
    "printf": _printf,
    "len": lambda value: len(value or ()),
    "index": _index,
    "slice": _slice,
    "eq": lambda a, *others: any(_alike(a, b) and a == b for b in others),
    "ne": lambda a, b: _alike(a, b) and a != b,
    "lt": lambda a, b: _alike(a, b) and a < b,
    "le": lambda a, b: _alike(a, b) and a <= b,
    "gt": lambda a, b: _alike(a, b) and a > b,
    "ge": lambda a, b: _alike(a, b) and a >= b,
    "and": _and,
    "or": _or,
    "not": lambda value: not truth(value),
    "js": lambda *values: "".join(go_text(v) for v in values).translate(_JS),
    "html": lambda *values: "".join(go_text(v) for v in values).translate(_HTML),
    "urlquery": _urlquery,
}
