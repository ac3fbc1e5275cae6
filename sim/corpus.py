"""The historical failures by name: the mistake, the world in which it shows, and a seed that is known to find it.

Owns the table. `find` counts the seeds that it takes today.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from sim.run import Result, run
from sim.scenario import Shape
from sim.strategies import generate

MAX_SEEDS: Final = 400


class Case(NamedTuple):
    """`seed`: one that finds it, for the tests; None where none is known that does in a few seconds."""

    name: str
    story: str
    shape: Shape
    seed: int | None


CASES: Final = (
    Case("vote-not-persisted", "a member that forgets its vote in a crash votes twice in one term", Shape(seconds=30, faults=("crash",)), 11),
    Case("commit-by-counting", "an entry of an old term is committed because a majority has it, and lost again (figure 8)",
         Shape(managers=5, clients=4, seconds=60, faults=("elections",)), None),
    Case("removed-member-disrupts", "a member that was removed starts elections for ever", Shape(seconds=30, faults=("members",)), 6),
    Case("snapshot-overtakes-log", "a snapshot holds more than the log on disk: a hole after a crash",
         Shape(seconds=30, faults=("crash", "disk"), snapshot_interval=6), None),
    Case("double-demotion", "two managers are removed at once, and the majority with them", Shape(managers=5, seconds=30, faults=("members", "network")), 4),
    Case("status-reordered", "a late report takes a task back", Shape(agents=5, services=3, seconds=30, faults=("agents",)), 0),
    Case("ghost-on-rejoin", "a manager that lost its disk comes back under its old id", Shape(seconds=30, faults=("members", "crash")), 0),
)  # fmt: skip


def find(case: Case, say: Callable[[int], None] = lambda _seed: None) -> tuple[int, Result] | None:
    """How many seeds it took to find the mistake, and the run; None when MAX_SEEDS do not."""
    for seed in range(MAX_SEEDS):
        say(seed)
        result = attempt(case, seed)
        if result.failure:
            return seed + 1, result
    return None


def attempt(case: Case, seed: int, *, mutated: bool = True) -> Result:
    """One run of the case's world, with its mistake or as the product is."""
    shape = msgspec.structs.replace(case.shape, mutant=case.name if mutated else "")
    return run(generate(seed, shape), keep=False)
