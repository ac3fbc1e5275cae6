"""Seeds, one after the other, until one fails or the time is over. Owns the loop; the clock comes in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from sim.run import Result, run
from sim.scenario import Shape
from sim.strategies import generate


class Hunted(NamedTuple):
    """`found`: the failing run, None when all were well."""

    runs: int
    simulated_s: float
    events: int
    found: Result | None
    occurred: Counter[str]


def hunt(shape: Shape, first_seed: int, goes_on: Callable[[], bool], say: Callable[[int], None] = lambda _seed: None) -> Hunted:
    """From `first_seed` on, while `goes_on`; at least one."""
    runs, simulated_s, events, seed = 0, 0.0, 0, first_seed
    occurred: Counter[str] = Counter()
    while True:
        say(seed)
        result = run(generate(seed, shape), keep=False)
        runs, simulated_s, events, seed = runs + 1, simulated_s + result.simulated_s, events + result.events, seed + 1
        occurred.update(result.occurred)
        if result.failure:
            return Hunted(runs, simulated_s, events, result, occurred)
        if not goes_on():
            return Hunted(runs, simulated_s, events, None, occurred)
