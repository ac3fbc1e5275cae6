"""The daemon's answers as values of Go's types (cli/answer_types.py), which templates are run on first: in their order, with every field. Pure.

`raw` is the same answer as Docker's client sees it when its type has not what a template asks for: maps, with numbers as they came.
Source: docker/cli's `cli/command/inspect`; Go's encoding/json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from cli.answer_types import NAMED, TYPES
from cluster.model.go_values import Duration, Field, FileMode, Float32, Int, Map, Network, Number, Pointer, Slice, Struct, Text, Time, element_type

_GROUP: Final = re.compile(r"((?:[^ ]+, )*[^ ]+) (.+)")
_ARRAY: Final = re.compile(r"\[(\d+)\]")
_NEVER: Final = "0001-01-01T00:00:00Z"
_INTEGERS: Final = frozenset({"int", "int64", "uint", "uint8", "uint16", "uint32", "uint64"})


@cache
def _lines() -> Mapping[str, str]:
    lines = TYPES.strip("\n").replace("\n  ", " ").split("\n")
    return {name: fields for name, _, fields in (line.partition(":") for line in lines)}


@cache
def fields_of(type: str) -> tuple[Field, ...] | None:
    """None of what is no struct."""
    line = _lines().get(type)
    if line is None:
        return () if type == "struct {}" else None
    found: list[Field] = []
    for group in filter(None, line.strip().split("; ")):
        match = _GROUP.fullmatch(group)
        assert match is not None, group
        for said in match[1].split(", "):
            name, _, json = said.removeprefix("@").removesuffix("?").partition("=")
            found.append((name, json or name, said.endswith("?"), match[2], said.startswith("@")))
    return tuple(found)


@cache
def _names_of(type: str) -> frozenset[str] | None:
    """Of the fields of a struct and of those embedded in it. A time is one that shows none."""
    if type == "time.Time":
        return frozenset()
    fields = fields_of(type)
    if fields is None:
        return None
    inner = (_names_of(field[3].removeprefix("*")) or frozenset() for field in fields if field[4])
    return frozenset(field[0] for field in fields).union(*inner)


def typed(value: Any, type: str) -> Any:
    """The value as encoding/json reads it into that type: what is not there is empty."""
    if type.startswith("*"):
        return Pointer(None if value is None else typed(value, type[1:]), type, _names_of(type[1:]))
    if type in {"interface {}", "error"}:
        return _loose(value)
    fields = fields_of(type)
    if fields is not None:
        return _struct(value if isinstance(value, Mapping) else {}, type, fields)
    under = NAMED.get(type, type)
    if under.startswith("map["):
        inner = element_type(under)
        items = {key: typed(item, inner) for key, item in value.items()} if isinstance(value, Mapping) else {}
        if under.startswith("map[nat.Port]"):
            items = {Text(key, "nat.Port"): item for key, item in items.items()}
        return Map(items, type, nil=value is None, empty=typed(None, inner))
    if under.startswith("["):
        return _list(value, type, under)
    return _scalar(value, type, under)


def _struct(value: Mapping[str, Any], type: str, fields: tuple[Field, ...]) -> Struct:
    made = Struct({name: typed(value if embedded else value.get(json), kind) for name, json, _, kind, embedded in fields}, type, fields)
    if type == "store.Metadata":  # which holds them as anything, and knows what they are
        made["Endpoints"].type = "map[string]interface {}"
    return made


def _list(value: Any, type: str, under: str) -> Slice:
    inner = element_type(under)
    if inner == "uint8" and isinstance(value, str):
        from base64 import b64decode

        value = list(b64decode(value))
    items = [typed(item, inner) for item in ([value] if isinstance(value, str) else value or ())]
    array = _ARRAY.match(under)
    if array is not None:
        items += [typed(None, inner)] * (int(array[1]) - len(items))
    return Slice(items, type, nil=value is None and array is None)


def _scalar(value: Any, type: str, under: str) -> Any:
    if type == "time.Time":
        return Time(value or _NEVER)
    if type in {"time.Duration", "fs.FileMode"}:
        return (Duration if type == "time.Duration" else FileMode)(value or 0, type)
    if type == "registry.NetIPNet":
        return Network(value or "", type)
    if type == "float32":
        return Float32(value or 0)
    if under in _INTEGERS:
        return Int(value or 0, type) if type != "int" else int(value or 0)
    if under == "bool":
        return bool(value)
    return Text(value or "", type) if type != "string" else value or ""


def _loose(value: Any) -> Any:
    """What Go makes of JSON that has no type."""
    if isinstance(value, Mapping):
        return Map({key: _loose(item) for key, item in value.items()}, "map[string]interface {}")
    if isinstance(value, list):
        return Slice([_loose(item) for item in value], "[]interface {}")
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def raw(value: Any) -> Any:
    """Maps and lists of anything; a number is its digits."""
    if isinstance(value, Mapping):
        return Map({key: raw(item) for key, item in value.items()}, "map[string]interface {}")
    if isinstance(value, list):
        return Slice([raw(item) for item in value], "[]interface {}")
    return Number(repr(value), "json.Number") if isinstance(value, int | float) and not isinstance(value, bool) else value
