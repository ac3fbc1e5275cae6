"""The historical failures by name: the mistake, and the world in which it shows.

Owns the table; `hunt` and `run` with a mistake take their world from here too, so what is found in one is found in the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from sim.run import Result, run
from sim.scenario import Shape
from sim.strategies import generate

MAX_SEEDS: Final = 400
FIRST_SEED: Final = 1


class Case(NamedTuple):
    """`name`: the mutant's."""

    name: str
    story: str
    shape: Shape


CASES: Final = (
    Case("vote-not-persisted", "a member that forgets its vote in a crash votes twice in one term",
         Shape(managers=5, seconds=20, faults=("crash", "elections"))),
    Case("commit-by-counting", "an entry of an old term is committed because a majority has it, and lost again (figure 8)",
         Shape(managers=5, clients=4, seconds=60, faults=("elections",))),
    Case("removed-member-disrupts", "a member that was removed starts elections for ever", Shape(seconds=20, faults=("members",))),
    Case("snapshot-overtakes-log", "a snapshot holds more than the log on disk: a crash then leaves a hole between the two",
         Shape(clients=4, seconds=20, faults=("disk", "elections"), snapshot_interval=3)),
    Case("double-demotion", "two managers are removed at once, and the majority with them", Shape(managers=5, seconds=30, faults=("members",))),
    Case("status-reordered", "a late report takes a task back", Shape(agents=5, services=3, seconds=30, faults=("agents",))),
    Case("ghost-on-rejoin", "a manager that lost its disk comes back under its old id", Shape(seconds=30, faults=("members", "crash"))),
)  # fmt: skip


def world_of(mutant: str) -> Shape:
    """Where this mistake shows, with it in; an ordinary world without one. Raises KeyError for a name that is none."""
    if not mutant:
        return Shape()
    shape = {case.name: case.shape for case in CASES}[mutant]
    return msgspec.structs.replace(shape, mutant=mutant)


def find(case: Case, say: Callable[[int], None] = lambda _seed: None) -> tuple[int, Result] | None:
    """How many seeds it took to find the mistake, and the run; None when MAX_SEEDS do not."""
    for seed in range(FIRST_SEED, FIRST_SEED + MAX_SEEDS):
        say(seed)
        result = attempt(case, seed)
        if result.failure:
            return seed + 1 - FIRST_SEED, result
    return None


def attempt(case: Case, seed: int, *, mutated: bool = True) -> Result:
    """One run of the case's world, with its mistake or as the product is."""
    return run(generate(seed, world_of(case.name) if mutated else case.shape), keep=False)
