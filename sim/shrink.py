"""From a run that fails to the smallest one that still fails in the same way: delta debugging over its steps.

Owns the search; what a run is, run.py knows. "The same way" is the failure's sentence without its names and numbers,
so that a smaller run is no other failure. Source: Zeller and Hildebrandt, "Simplifying and isolating failure-inducing
input", 2002.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from sim.run import Result, run
from sim.scenario import Scenario, Step
from sim.strategies import QUIET_MS
from sim.world import MS, SECOND

MAX_RUNS: Final = 500
SEEDS: Final = 6
"""So many are tried for the same steps at other times: chance decides who wins an election."""

MARGIN_S: Final = 1.0
"""A smaller run may fail a little later than the first."""

replace = msgspec.structs.replace


def kind_of(failure: str) -> str:
    """The failure without what differs from run to run."""
    return re.sub(r"\d+", "#", re.sub(r"\b[0-9a-z]{25}\b|\b[mncs]\d+(\.\d+)?\b", "@", failure.split(":", maxsplit=1)[0]))


def shrink(
    found: Result, say: Callable[[str], None] = lambda _line: None, most_runs: int = MAX_RUNS, goes_on: Callable[[], bool] = lambda: True
) -> Result:
    """The smallest run that was found, in at most so many tries and while `goes_on`."""
    search = _Search(found, say, most_runs, goes_on)
    search.cut_end()
    search.drop_beginning()
    search.shrink_machines()
    search.drop_kinds()
    search.drop_steps()
    search.shrink_machines()
    search.shorten()
    return search.best


class _Search:
    def __init__(self, found: Result, say: Callable[[str], None], most_runs: int, goes_on: Callable[[], bool]) -> None:
        self._goes_on = goes_on
        self.best = found
        self._kind = kind_of(found.failure)
        self._say = say
        self._left = most_runs

    def _try(self, scenario: Scenario) -> bool:
        if self._left <= 0 or not self._goes_on():
            return False
        self._left -= 1
        result = run(scenario, keep=False, until_s=self.best.simulated_s + MARGIN_S)
        if not result.failure or kind_of(result.failure) != self._kind:
            return False
        self.best = result
        self._say(f"{len(scenario.steps)} steps, {result.simulated_s:.1f} s")
        return True

    def cut_end(self) -> None:
        """What comes after the failure did not cause it."""
        scenario = self.best.scenario
        end_ms = int(self.best.simulated_s * SECOND / MS)
        steps = tuple(step for step in scenario.steps if step.at_ms <= end_ms)
        seconds = min(scenario.shape.seconds, end_ms // 1000 + 1)
        self._try(replace(scenario, steps=steps, shape=replace(scenario.shape, seconds=seconds)))

    def drop_beginning(self) -> None:
        """The last seconds only, of a cluster that has just begun: small runs are quick ones."""
        end_ms = int(self.best.simulated_s * SECOND / MS)
        for kept_ms in (1000, 2000, 4000, 8000, 15_000, 30_000):
            dropped_ms = end_ms - kept_ms - QUIET_MS
            if dropped_ms <= 0:
                return
            scenario = self.best.scenario
            steps = (*(s for s in scenario.steps if s.at_ms < QUIET_MS), *(_earlier(s, dropped_ms) for s in scenario.steps if s.at_ms >= dropped_ms + QUIET_MS))
            shorter = replace(scenario, steps=steps, shape=replace(scenario.shape, seconds=max(1, scenario.shape.seconds - dropped_ms // 1000)))
            if any(self._try(replace(shorter, seed=scenario.seed + other)) for other in range(SEEDS)):
                return

    def drop_kinds(self) -> None:
        """Most kinds of operations and faults have nothing to do with it."""
        for what in dict.fromkeys(step.what for step in self.best.scenario.steps):
            self._try(replace(self.best.scenario, steps=tuple(step for step in self.best.scenario.steps if step.what is not what)))

    def drop_steps(self) -> None:
        """Leave out ever smaller parts, as long as it still fails."""
        size = max(1, len(self.best.scenario.steps) // 2)
        while size:
            start = 0
            while start < len(self.best.scenario.steps):
                steps = self.best.scenario.steps
                fewer = (*steps[:start], *steps[start + size :])
                if not self._try(replace(self.best.scenario, steps=fewer)):
                    start += size
            size //= 2

    def shrink_machines(self) -> None:
        """Fewer machines."""
        for field in ("agents", "clients"):
            while (count := getattr(self.best.scenario.shape, field)) > (1 if field == "agents" else 0):
                if not self._try(replace(self.best.scenario, shape=replace(self.best.scenario.shape, **{field: count - 1}))):
                    break

    def shorten(self) -> None:
        """Shorter faults."""
        for place in range(len(self.best.scenario.steps)):
            step = self.best.scenario.steps[place]
            while step.for_ms > 1:
                step = replace(step, for_ms=step.for_ms // 2)
                if not self._try(replace(self.best.scenario, steps=_with(self.best.scenario.steps, place, step))):
                    break


def _earlier(step: Step, by_ms: int) -> Step:
    return replace(step, at_ms=step.at_ms - by_ms)


def _with(steps: tuple[Step, ...], place: int, step: Step) -> tuple[Step, ...]:
    return (*steps[:place], step, *steps[place + 1 :])
