"""How much of two sequences is the same at either end: what a change of a few among hundreds leaves to be looked at. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Callable


def alike(before: tuple[object, ...], after: tuple[object, ...]) -> tuple[int, int]:
    """How many are the same at the beginning, and of the others at the end."""
    most = min(len(before), len(after))
    first = _most(most, lambda count: before[:count] == after[:count])
    return first, _most(most - first, lambda count: before[len(before) - count :] == after[len(after) - count :])


def _most(most: int, holds: Callable[[int], bool]) -> int:
    """The greatest number up to `most` for which it holds, where it holds for all smaller ones and for 0."""
    return bisect.bisect_left(range(1, most + 1), True, key=lambda count: not holds(count))
