"""Values of Go's types, as templates see them: structs with their fields in order, pointers, named types; and how Go prints each. Pure.

What is plain Python (text, numbers, lists, maps) is a value too: then Go's types are guessed. Source: Go's fmt package (%v, %+v, %#v), encoding/json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:  # which costs more than all the rest of `ps`'s templates
    from cluster.model.go_clock import Moment, Place

Field = tuple[str, str, bool, str, bool]
"""(name, what JSON calls it, whether JSON leaves it out when it is empty, its type, whether its own fields are also its owner's)"""
NAME: Final = 0
MISSING: Final = object()


class Struct(dict[str, Any]):
    """Values by the fields' names. `fields`: none for one that JSON shows as a map."""

    __slots__ = ("fields", "type")

    def __init__(self, values: Mapping[str, Any], type: str = "", fields: Sequence[Field] = ()) -> None:
        super().__init__(values)
        self.type, self.fields = type, fields

    def field(self, name: str) -> Any:
        """MISSING where there is none; those of what is embedded are its own."""
        if name in self:
            return self[name]
        for field in self.fields:
            if field[4]:
                inner = self[field[NAME]]
                inner = inner.to if isinstance(inner, Pointer) else inner
                found = inner.field(name) if isinstance(inner, Struct) else MISSING
                if found is not MISSING:
                    return found
        return MISSING


class Pointer:
    """`to`: None when it is nil. `names`: the fields of the struct that it could point at, None of anything else."""

    __slots__ = ("names", "to", "type")

    def __init__(self, to: Any, type: str, names: frozenset[str] | None = None) -> None:
        self.to, self.type, self.names = to, type, names

    def __bool__(self) -> bool:
        return self.to is not None


class Slice(list[Any]):
    """`nil`: JSON shows null. Arrays are some too."""

    __slots__ = ("nil", "type")

    def __init__(self, values: Sequence[Any], type: str, nil: bool = False) -> None:
        super().__init__(values)
        self.type, self.nil = type, nil


class Map(dict[str, Any]):
    """`empty`: what it has under a key that it has not."""

    __slots__ = ("empty", "nil", "type")

    def __init__(self, values: Mapping[str, Any], type: str, nil: bool = False, empty: Any = None) -> None:
        super().__init__(values)
        self.type, self.nil, self.empty = type, nil, empty


class _Named:
    """Of a type that has a name of its own."""

    type: str

    def __new__(cls, value: Any, type: str) -> Self:
        made = super().__new__(cls, value)  # type: ignore[call-arg]  # the str or int beside it
        made.type = type
        return made


class Text(_Named, str):
    """Any of Go's types of text."""


class Number(Text):
    """A json.Number: the digits as they came."""


class Int(_Named, int):
    """Any of Go's integer types."""


class Float32(float):
    """Shorter than a float64."""

    type = "float32"


class Duration(Int):
    """Nanoseconds, printed as `5s`."""

    def __str__(self) -> str:
        return go_text(self)


class FileMode(Int):
    """Printed as `-rw-r--r--`."""


class Month(Int):
    """1 is printed as `January`."""


class Weekday(Int):
    """0 is printed as `Sunday`."""


class Time:
    """`json`: as RFC 3339 has it; printed as `2026-01-02 15:04:05 +0000 UTC`. `when`: what a method made, which JSON may have no words for."""

    __slots__ = ("json", "when")
    type = "time.Time"

    def __init__(self, json: str, when: Moment | None = None) -> None:
        self.json, self.when = json, when

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Time) and self.moment() == other.moment()

    def __hash__(self) -> int:
        return hash(self.moment())

    def moment(self) -> Moment:
        """Raises ValueError where it is no time."""
        from cluster.model.go_clock import moment

        return self.when or moment(self.json)


class Location:
    """Where a time is: a pointer, which prints the place's name."""

    __slots__ = ("place",)
    type = "*time.Location"

    def __init__(self, place: Place) -> None:
        self.place = place


class Network(Text):
    """A registry.NetIPNet: a pointer to it prints what it is."""


STRINGERS: Final = (Duration, FileMode, Month, Weekday, Time, Location, Network)
"""What has its own words for itself."""


def type_of(value: Any) -> str:
    """What Go calls its type."""
    if value is None:
        return "<nil>"
    known = getattr(value, "type", None)
    if isinstance(known, str):
        return known
    if isinstance(value, Mapping):
        return "map[string]string" if value and all(isinstance(item, str) for item in value.values()) else "map[string]interface {}"
    if isinstance(value, list | tuple):
        return "[]string" if all(isinstance(item, str) for item in value) else "[]interface {}"
    return {bool: "bool", int: "int", float: "float64", complex: "complex128"}.get(type(value), "string")


def element_type(type: str) -> str:
    """Of a slice's, array's or map's elements."""
    depth = 0
    for at, character in enumerate(type):
        depth += (character == "[") - (character == "]")
        if character == "]" and not depth:
            return type[at + 1 :]
    return "interface {}"


def key_type(type: str) -> str:
    """Of a map's keys."""
    return "nat.Port" if type in {"nat.PortMap", "nat.PortSet"} else type[4 : type.index("]")] if type.startswith("map[") else "string"


def printed(value: Any) -> Any:
    """What a template prints of a value: what it points at, if anything, but for a pointer that has words of its own."""
    return value if isinstance(value, Pointer) and value.type == "*units.Ulimit" else pointee(value)


def pointee(value: Any) -> Any:
    """What it is, or what it points at; a pointer to nothing as it is."""
    return value.to if isinstance(value, Pointer) and value.to is not None else value


def go_text(value: Any, flag: str = "", depth: int = 0) -> str:
    """As Go's %v: `{running true}`, `map[a:b]`, `[a b]`, `<nil>`. `flag`: "+" names the fields, "#" writes as Go does in source."""
    if isinstance(value, str) and not isinstance(value, STRINGERS) and flag != "#":
        return str.__str__(value)
    if value is None:
        return "interface {}(nil)" if flag == "#" and depth else "<nil>"
    if isinstance(value, Pointer):
        return _pointer(value, flag, depth)
    if isinstance(value, Struct) and (value.fields or value.type == "struct {}"):
        return _struct(value, flag, depth)
    if isinstance(value, Mapping):
        pairs = (f"{go_text(key, flag, depth + 1)}:{go_text(item, flag, depth + 1)}" for key, item in sorted(value.items()))
        if flag == "#":
            return type_of(value) + ("(nil)" if getattr(value, "nil", False) else "{" + ", ".join(pairs) + "}")
        return "map[" + " ".join(pairs) + "]"
    if isinstance(value, list | tuple):
        items = (go_text(item, flag, depth + 1) for item in value)
        if flag == "#":
            return type_of(value) + ("(nil)" if getattr(value, "nil", False) else "{" + ", ".join(items) + "}")
        return "[" + " ".join(items) + "]"
    return _scalar(value, flag)


def _scalar(value: Any, flag: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if flag == "#":
        if isinstance(value, Time):
            from cluster.model.go_clock import time_source

            return time_source(value.moment())
        if isinstance(value, str):
            from cluster.model.go_format import quoted

            return quoted(str.__str__(value))
        return f"0x{int(value):x}" if type_of(value).startswith("uint") else str(int(value)) if isinstance(value, int) else _float(value)
    if isinstance(value, Duration):
        from cluster.model.go_clock import duration_text

        return duration_text(int(value))
    if isinstance(value, Time):
        from cluster.model.go_layout import PRINTED, formatted

        return formatted(value.moment(), PRINTED)
    if isinstance(value, Month | Weekday):
        from cluster.model.go_clock import DAYS, MONTHS

        names, at = (MONTHS, value - 1) if isinstance(value, Month) else (DAYS, int(value))
        return names[at] if 0 <= at < len(names) else f"%!{type(value).__name__}({int(value)})"
    if isinstance(value, Location):
        from cluster.model.go_clock import place_name

        return place_name(value.place)
    if isinstance(value, FileMode):
        return "-" + "".join(letter if value >> (8 - at) & 1 else "-" for at, letter in enumerate("rwxrwxrwx"))
    if isinstance(value, complex):
        return f"({_float(value.real)}+{_float(value.imag)}i)"
    if isinstance(value, float):
        return _float(value)
    return str.__str__(value) if isinstance(value, str) else str(int(value))


def _pointer(value: Pointer, flag: str, depth: int) -> str:
    if value.to is None:
        return f"({value.type})(nil)" if flag == "#" else "<nil>"
    said = None if flag == "#" else own_words(value.to) or (_ulimit(value.to) if value.type == "*units.Ulimit" else None)
    if said is not None:
        return said
    if not depth and isinstance(value.to, Mapping | list):
        return "&" + go_text(value.to, flag, 1)
    address = f"0xc{id(value) & 0xFFFFFFFFF:09x}"
    return f"({value.type})({address})" if flag == "#" else address


def own_words(value: Any) -> str | None:
    """What a value of a type that has words for itself (Go's String method) says."""
    if isinstance(value, STRINGERS):
        return _scalar(value, "")
    return str(value["Index"]) if isinstance(value, Struct) and value.type == "swarm.Version" else None


def _ulimit(value: Struct) -> str:
    """Only a pointer to one says it."""
    return f"{value['Name']}={value['Soft']}:{value['Hard']}"


def _struct(value: Struct, flag: str, depth: int) -> str:
    if value.type == "swarm.Version" and flag != "#":
        return str(value["Index"])
    parts = ((field[NAME], go_text(value[field[NAME]], flag, depth + 1)) for field in value.fields)
    if flag == "#":
        return f"{value.type}{{" + ", ".join(f"{name}:{text}" for name, text in parts) + "}"
    return "{" + " ".join(f"{name}:{text}" if flag else text for name, text in parts) + "}"


def _float(value: float) -> str:
    """The fewest digits that say it; from 1e+06 and below 1e-4 with an exponent, as Go's %v."""
    if str(value) in ("inf", "-inf", "nan"):
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(value), "NaN")
    short = min((f"{value:.{digits}g}" for digits in (6, 7, 8, 9)), key=lambda t: abs(float(t) - value)) if isinstance(value, Float32) else repr(float(value))
    from decimal import Decimal

    exact = Decimal(short)
    if value and not -4 <= exact.adjusted() < 6:
        digits = "".join(map(str, exact.normalize().as_tuple().digits))
        return f"{'-' * exact.is_signed()}{digits[0]}{'.' * (len(digits) > 1)}{digits[1:]}e{exact.adjusted():+03d}"
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain(value: Any) -> Any:
    """What JSON shows of it."""
    if isinstance(value, Pointer):
        return None if value.to is None else plain(value.to)
    if isinstance(value, Struct) and value.fields:
        if value.type == "registry.ServiceConfig":  # which writes itself by way of a map
            return _sorted({json: plain(value[name]) for name, json, *_ in value.fields if json != "-" and not name.startswith("AllowNond")})
        shown: dict[str, Any] = {}
        for name, json, optional, _, embedded in value.fields:
            inner = value[name]
            if embedded:
                shown |= plain(inner) or {}
            elif json != "-" and not (optional and empty(inner)):
                shown[json] = plain(inner)
        return shown
    if getattr(value, "nil", False):
        return None
    if isinstance(value, Slice) and value.type == "[]uint8":
        from base64 import b64encode

        return b64encode(bytes(value)).decode()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in (sorted(value.items()) if isinstance(value, Map) else value.items())}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Time):
        return value.json
    if isinstance(value, Location):
        return {}
    if isinstance(value, Number):
        return float(value) if "." in value or "e" in value else int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)  # as Go writes it
    return str.__str__(value) if isinstance(value, str) else int(value) if isinstance(value, Int) else value


def _sorted(value: Any) -> Any:
    return {key: _sorted(item) for key, item in sorted(value.items())} if isinstance(value, dict) else value


def empty(value: Any) -> bool:
    """What `omitempty` leaves out: a struct never is."""
    return not isinstance(value, Struct) and not value
