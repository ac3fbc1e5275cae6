"""Simulated time: one heap of events, and the trace of what happened with its causes.

Owns the clock and the order of events. Ties are broken by the order of scheduling, so a run is a function of its
scenario. Knows nothing of clusters.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sim.draws import Draws

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000
_push: Final = heapq.heappush
START_NS: Final = 1_700_000_000 * SECOND
"""Unix time at which every world begins."""


class Line(NamedTuple):
    """One thing that happened. `cause`: the number of the line that led to it, 0 for none."""

    at_ns: int
    number: int
    cause: int
    who: str
    text: str

    def __str__(self) -> str:
        because = f" (by #{self.cause})" if self.cause else ""
        return f"{self.at_ns / SECOND:12.6f} #{self.number} {self.who}: {self.text}{because}"


class Stopped(Exception):
    """As many events as were wanted have happened, or as much time has passed."""


class World:
    """`now_ns` counts from the world's beginning. With `keep` every line is kept; without, only their digest's input
    is not even made: long runs are faster so.
    """

    def __init__(self, seed: int, *, keep: bool = True) -> None:
        self.now_ns = 0
        self.draws = Draws(seed)
        self.lines: list[Line] = []
        self.keep = keep
        self.occurred: Counter[str] = Counter()  # faults that did something, by name
        self.events = 0
        self.last_event = -1  # Stopped is raised in the place of the one after it; -1: never
        self.last_ns = 1 << 62  # and when this is over
        self._heap: list[tuple[int, int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = 0
        self._number = 0
        self._cause = 0

    @property
    def cause(self) -> int:
        """The line that what happens now follows from."""
        return self._cause

    def later(self, delay_ns: int, action: Callable[..., object], *arguments: Any) -> None:
        """Do this once so much time has passed."""
        self._order = order = self._order + 1
        _push(self._heap, (self.now_ns + delay_ns, order, self._cause, action, arguments))

    def note(self, who: str, text: str) -> None:
        """Say what happens. What is scheduled from here on is its consequence."""
        if not self.keep:
            return
        self._number += 1
        self.lines.append(Line(self.now_ns, self._number, self._cause, who, text))
        self._cause = self._number

    def run(self, until_ns: int) -> None:
        """Let everything happen that is due until then. Raises Stopped."""
        heap, pop, end_ns = self._heap, heapq.heappop, min(until_ns, self.last_ns)
        while heap and heap[0][0] <= end_ns:
            if self.events == self.last_event:
                raise Stopped
            self.now_ns, _, self._cause, action, arguments = pop(heap)
            self.events += 1
            action(*arguments)
        self.now_ns = end_ns
        self._cause = 0
        if end_ns < until_ns:
            raise Stopped

    def trace(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    def digest(self) -> str:
        """SHA-256 of the trace."""
        return hashlib.sha256(self.trace().encode()).hexdigest()
