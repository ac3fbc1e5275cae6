"""The world's only randomness: splitmix64, so that a seed means the same run on every machine and version of Python.

A `Draws` is a `random.Random` because the product's code takes one; every method that anybody here calls is defined in
this file, on `bits` alone. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from random import Random
from typing import Any, Final, TypeVar

Item = TypeVar("Item")

MASK: Final = (1 << 64) - 1
GOLDEN: Final = 0x9E3779B97F4A7C15
FNV_OFFSET: Final = 0xCBF29CE484222325
FNV_PRIME: Final = 0x100000001B3


def mix(value: int) -> int:
    """64 bits that depend on every bit of the value."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def named(label: str) -> int:
    """FNV-1a of the label: `hash` differs from process to process."""
    value = FNV_OFFSET
    for byte in label.encode():
        value = ((value ^ byte) * FNV_PRIME) & MASK
    return value


class Draws(Random):
    """A stream of random numbers."""

    def __init__(self, seed: int) -> None:
        self._state = seed & MASK
        super().__init__(seed)

    def seed(self, a: Any = 0, version: int = 2) -> None:  # noqa: ARG002  Random's signature
        self._state = int(a) & MASK

    def fork(self, label: str) -> Draws:
        """A stream of its own for whoever is called so: what others draw does not change it."""
        return Draws(mix(self._state ^ named(label)))

    def bits(self) -> int:
        """64 random bits."""
        self._state = value = (self._state + GOLDEN) & MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK  # mix, without the call
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
        return value ^ (value >> 31)

    def below(self, limit: int) -> int:
        """0 <= n < limit. (The bias of a 64-bit modulus does not matter here.)"""
        return self.bits() % limit

    def between(self, low: int, high: int) -> int:
        """low <= n <= high."""
        return low + self.bits() % (high - low + 1)

    def chance(self, permille: int) -> bool:
        return self.bits() % 1000 < permille

    def random(self) -> float:
        return (self.bits() >> 11) / (1 << 53)

    def getrandbits(self, k: int) -> int:
        value = 0
        for _ in range(-(-k // 64)):
            value = (value << 64) | self.bits()
        return value & ((1 << k) - 1)

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        first, last = (0, start) if stop is None else (start, stop)
        return first + step * self.below(-(-(last - first) // step))

    def randbytes(self, n: int) -> bytes:
        return b"".join(self.bits().to_bytes(8, "little") for _ in range(-(-n // 8)))[:n]

    def choice(self, seq: Sequence[Item]) -> Item:  # type: ignore[override]
        return seq[self.below(len(seq))]

    def shuffle(self, x: MutableSequence[Any]) -> None:
        for place in range(len(x) - 1, 0, -1):
            other = self.below(place + 1)
            x[place], x[other] = x[other], x[place]
