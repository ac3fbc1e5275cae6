"""Reading a request's JSON object field by field, with its types checked. Owns the sentences for wrong types; never knows what a field means.

Names are matched without regard to case and null counts as absent, as Go's encoding/json does on the other side of this API; unknown fields are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from cluster.model.errors import InvalidArgument
from cluster.model.specs import Pairs

_INTEGER_LOW: Final = -(2**63)
_INTEGER_HIGH: Final = 2**64 - 1


def _wrong(where: str, kind: str) -> InvalidArgument:
    return InvalidArgument(f"invalid JSON: {where} must be {kind}")


class Fields:
    """One JSON object. Every method raises InvalidArgument, naming the field's path, when the value has another type."""

    __slots__ = ("_values", "_where")

    def __init__(self, value: object, where: str = "the body") -> None:
        if not isinstance(value, Mapping):
            raise _wrong(where, "an object")
        self._where = where
        self._values: dict[str, object] = {str(name).lower(): item for name, item in value.items() if item is not None}

    def has(self, name: str) -> bool:
        return name.lower() in self._values

    @property
    def names(self) -> frozenset[str]:
        """Of the fields that are there, in small letters."""
        return frozenset(self._values)

    def truthy(self, name: str) -> bool:
        """Whether it is there and anything but false, zero or empty."""
        return bool(self._values.get(name.lower()))

    def _path(self, name: str) -> str:
        return name if self._where == "the body" else f"{self._where}.{name}"

    def text(self, name: str, default: str = "") -> str:
        value = self._values.get(name.lower(), default)
        if not isinstance(value, str):
            raise _wrong(self._path(name), "a string")
        return value

    def optional_integer(self, name: str) -> int | None:
        value = self._values.get(name.lower())
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not _INTEGER_LOW <= value <= _INTEGER_HIGH:
            raise _wrong(self._path(name), "an integer of 64 bits")
        return value

    def integer(self, name: str, default: int = 0) -> int:
        value = self.optional_integer(name)
        return default if value is None else value

    def natural(self, name: str, default: int = 0) -> int:
        """An integer that is not negative."""
        value = self.integer(name, default)
        if value < 0:
            raise _wrong(self._path(name), "zero or more")
        return value

    def optional_natural(self, name: str) -> int | None:
        return self.natural(name) if self.has(name) else None

    def number(self, name: str) -> float:
        value = self._values.get(name.lower(), 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise _wrong(self._path(name), "a number")
        return float(value)

    def optional_flag(self, name: str) -> bool | None:
        value = self._values.get(name.lower())
        if value is not None and not isinstance(value, bool):
            raise _wrong(self._path(name), "true or false")
        return value

    def flag(self, name: str) -> bool:
        return bool(self.optional_flag(name))

    def strings(self, name: str) -> tuple[str, ...]:
        value = self._values.get(name.lower(), ())
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise _wrong(self._path(name), "a list of strings")
        return tuple(value)

    def text_lists(self, name: str) -> tuple[tuple[str, ...], ...]:
        """A list of lists of strings."""
        value = self._values.get(name.lower(), ())
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, list) and all(isinstance(text, str) for text in item) for item in value):
            raise _wrong(self._path(name), "a list of lists of strings")
        return tuple(tuple(item) for item in value)

    def strings_or_text(self, name: str) -> tuple[str, ...]:
        """A list of strings, or one string (Cmd, Entrypoint, Test and a container's capabilities take both)."""
        value = self._values.get(name.lower())
        return (value,) if isinstance(value, str) else self.strings(name)

    def optional_words(self, name: str) -> tuple[str, ...] | None:
        """As strings_or_text, and None where there is neither."""
        return self.strings_or_text(name) if self.has(name) else None

    def naturals(self, name: str) -> tuple[int, ...]:
        value = self._values.get(name.lower(), ())
        if not isinstance(value, (list, tuple)) or not all(type(item) is int and 0 <= item <= _INTEGER_HIGH for item in value):
            raise _wrong(self._path(name), "a list of integers, zero or more")
        return tuple(value)

    def pairs(self, name: str) -> Pairs:
        """A map from text to text, in the order of its keys: clients send maps back in that order, and a spec that says the same is to be equal."""
        value = self._values.get(name.lower(), {})
        if not isinstance(value, Mapping) or not all(item is None or isinstance(item, str) for item in value.values()):
            raise _wrong(self._path(name), "a map of strings")
        return tuple(sorted((str(key), item or "") for key, item in value.items()))

    def keys(self, name: str) -> tuple[str, ...]:
        """The keys of a map whose values carry nothing (`{"80/tcp": {}}`)."""
        value = self._values.get(name.lower(), {})
        if not isinstance(value, Mapping):
            raise _wrong(self._path(name), "an object")
        return tuple(str(key) for key in value)

    def object(self, name: str) -> Fields | None:
        value = self._values.get(name.lower())
        return None if value is None else Fields(value, self._path(name))

    def section(self, name: str) -> Fields:
        """The object of this name; one without fields where it is absent."""
        return self.object(name) or Fields({}, self._path(name))

    def objects(self, name: str) -> tuple[Fields, ...]:
        value = self._values.get(name.lower(), ())
        if not isinstance(value, (list, tuple)):
            raise _wrong(self._path(name), "a list")
        return tuple(Fields(item, f"{self._path(name)}[{position}]") for position, item in enumerate(value))

    def sections(self, name: str) -> tuple[tuple[str, Fields], ...]:
        """A map from text to objects; a null value counts as an object without fields."""
        value = self._values.get(name.lower(), {})
        if not isinstance(value, Mapping):
            raise _wrong(self._path(name), "an object")
        return tuple((str(key), Fields({} if item is None else item, f"{self._path(name)}.{key}")) for key, item in value.items())

    def lists(self, name: str) -> tuple[tuple[str, tuple[Fields, ...]], ...]:
        """A map from text to lists of objects (PortBindings); a null list counts as empty."""
        value = self._values.get(name.lower(), {})
        if not isinstance(value, Mapping):
            raise _wrong(self._path(name), "an object")
        inner = Fields(value, self._path(name))
        return tuple((str(key), inner.objects(str(key))) for key in value)
