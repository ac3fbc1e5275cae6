"""Immutable sets and maps in parts: one that differs from another in a few elements shares all parts but those few's with it.

So what follows from a table of a thousand endpoints, of which one comes or goes, costs what one costs: to make the next table, to compare the two, to do the
same with what is made of them. Pure. Sources: Bagwell's hash tries (Clojure's and CPython's contextvars have them), here of two levels.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import compress
from operator import is_not
from typing import Final, TypeVar

PARTS: Final = 128
Element_co = TypeVar("Element_co", covariant=True)
Part = TypeVar("Part")
Value = TypeVar("Value")


class PartedSet(Set[Element_co]):
    """Equal to any set of the same elements."""

    __slots__ = ("_count", "_parts")

    def __init__(self, elements: Iterable[Element_co] = ()) -> None:
        parts: list[set[Element_co]] = [set() for _ in range(PARTS)]
        for one in elements:
            parts[hash(one) % PARTS].add(one)
        self._parts = tuple(map(frozenset, parts))
        self._count = sum(map(len, parts))

    def changed(self, gone: Iterable[Element_co], come: Iterable[Element_co]) -> PartedSet[Element_co]:
        """Without those that are `gone`, and with those that have `come`; the same object where that changes nothing."""
        parts: dict[int, frozenset[Element_co]] = {}
        for some, there in ((gone, False), (come, True)):
            for one in some:
                number = hash(one) % PARTS
                before = parts.get(number, self._parts[number])
                if (one in before) is not there:
                    parts[number] = before | {one} if there else before - {one}
        if not parts:
            return self
        made = PartedSet.__new__(PartedSet)
        made._parts = _replaced(self._parts, parts)
        made._count = self._count + sum(len(part) - len(self._parts[number]) for number, part in parts.items())
        return made

    def __contains__(self, one: object) -> bool:
        return one in self._parts[hash(one) % PARTS]

    def __iter__(self) -> Iterator[Element_co]:
        for part in self._parts:
            yield from part

    def __len__(self) -> int:
        return self._count

    def __sub__(self, other: Set[object]) -> frozenset[Element_co]:
        if not isinstance(other, PartedSet):
            return frozenset(one for one in self if one not in other)
        return frozenset(one for mine, its in _apart(self._parts, other._parts) for one in mine - its)

    def __eq__(self, other: object) -> bool:
        return self is other or (self._parts == other._parts if isinstance(other, PartedSet) else Set.__eq__(self, other) if isinstance(other, Set) else False)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PartedSet({set(self)!r})"


class PartedMap(Mapping[str, Value]):
    """By a text."""

    __slots__ = ("_count", "parts")

    def __init__(self, entries: Mapping[str, Value]) -> None:
        parts: list[dict[str, Value]] = [{} for _ in range(PARTS)]
        for key, value in entries.items():
            parts[_number(key)][key] = value
        self.parts: tuple[Mapping[str, Value], ...] = tuple(parts)
        self._count = len(entries)

    def changed(self, entries: Iterable[tuple[str, Value | None]]) -> PartedMap[Value]:
        """With these values, None for what goes; the same object where that changes nothing."""
        parts: dict[int, dict[str, Value]] = {}
        for key, value in entries:
            number = _number(key)
            before = parts.get(number, self.parts[number])
            known = before.get(key)
            if known is value or known == value:
                continue
            part = parts.setdefault(number, dict(before))
            if value is None:
                del part[key]
            else:
                part[key] = value
        if not parts:
            return self
        made: PartedMap[Value] = PartedMap.__new__(PartedMap)
        made.parts = _replaced(self.parts, parts)
        made._count = self._count + sum(len(part) - len(self.parts[number]) for number, part in parts.items())
        return made

    def since(self, before: PartedMap[Value]) -> Iterator[tuple[str, Value | None, Value | None]]:
        """(key, its value before, its value now) of what came, went or is another object; None: there was or is none."""
        for was, now in _apart(before.parts, self.parts):
            yield from ((key, value, None) for key, value in was.items() if key not in now)
            yield from ((key, was.get(key), value) for key, value in now.items() if was.get(key) is not value)

    def __eq__(self, other: object) -> bool:
        return self is other or (self.parts == other.parts if isinstance(other, PartedMap) else Mapping.__eq__(self, other))

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, key: str) -> Value:
        return self.parts[_number(key)][key]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self.parts[_number(key)]

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            yield from part

    def __len__(self) -> int:
        return self._count


def _replaced(parts: tuple[Part, ...], others: Mapping[int, Part]) -> tuple[Part, ...]:
    made = list(parts)
    for number, part in others.items():
        made[number] = part
    return tuple(made)


def _apart(some: tuple[Part, ...], others: tuple[Part, ...]) -> Iterable[tuple[Part, Part]]:
    """The parts that are not the same object."""
    return compress(zip(some, others, strict=True), map(is_not, some, others))


def _number(key: str) -> int:
    """Of a key's part, the same in every process."""
    return zlib.crc32(key.encode()) % PARTS
