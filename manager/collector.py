"""When a manager's process looks for cyclic garbage: what it holds is large, grows, and is hardly ever in a cycle.

Python looks after every 700 new objects, and every hundredth time at all that there is: a quarter of what a proposal costs (docs/performance.md).
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG_OBJECTS: Final = 20_000
"""New objects after which the young are looked at: a few MB, were all of them garbage in cycles."""

YOUNG_ROUNDS: Final = 20
"""Such rounds after which those are looked at that have outlived one."""

OLD_ROUNDS: Final = 100
"""Rounds of those after which everything is looked at, if it has grown by a quarter as well."""


def calm() -> None:
    """To be called when what is there to stay has been read in: collections need not look at that again, and come less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, OLD_ROUNDS)
