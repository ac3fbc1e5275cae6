"""How long a peer may say nothing before it counts as dead: pure, of one connection.

Three intervals, and more for a peer whose words have come late, so that a machine that is slow at times is not taken for a dead one. Its lateness is the
worst that was seen, halved by every twenty-odd words that come in time (the idea of accrual detectors: Hayashibara et al. 2004, "The phi accrual
failure detector", with the worst in place of a distribution). What this process was late itself is no silence of the peer's: nobody listened then.
Never reads a clock; times are seconds of any clock that never goes back.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

INTERVALS_MIN: Final = 3
"""Of silence, for a peer that was never late."""

INTERVALS_MAX: Final = 15
LATENESS_FACTOR: Final = 2.0
"""A silence this many times longer than the worst before is nothing new yet."""

FORGOTTEN: Final = 0.97
"""What is left of the lateness after each interval with a word in it."""


class Verdict(Enum):
    HEARD = auto()
    SILENT = auto()
    """For another interval: a ping is due."""
    DEAD = auto()


class Silence:
    """State: when the last word came, and how late words have been. `patience_s`: by how much longer to wait for a ping than the other side does,
    so that only one of the two sends any."""

    def __init__(self, interval_s: float, now_s: float, patience_s: float = 0.0) -> None:
        self._interval_s = interval_s
        self._patience_s = patience_s
        self._last_s = now_s
        self._late_s = 0.0
        self._looks = 0
        self._due_s = now_s + interval_s + patience_s

    @property
    def allowed_s(self) -> float:
        return min(self._interval_s * INTERVALS_MIN + self._late_s * LATENESS_FACTOR, self._interval_s * INTERVALS_MAX)

    @property
    def due_s(self) -> float:
        """When to look next."""
        return self._due_s

    def forgive(self, late_s: float) -> None:
        """The peer is known to have been so late before."""
        self._late_s = max(self._late_s, late_s)

    def heard(self, now_s: float) -> None:
        """A word has come."""
        self._late_s = max(self._late_s, now_s - self._last_s - self._interval_s - self._patience_s)
        self._last_s = now_s
        self._looks = 0

    def lasted_s(self, now_s: float) -> float:
        return now_s - self._last_s

    def look(self, now_s: float) -> Verdict:
        """At `due_s`, or as soon afterwards as this process gets to it."""
        own_s = now_s - self._due_s
        self._late_s = max(self._late_s * FORGOTTEN if self._looks == 0 else self._late_s, own_s)
        if own_s > self._interval_s:
            self._last_s = min(self._last_s + own_s, now_s)
        verdict = Verdict.HEARD
        if now_s >= self._last_s + self.allowed_s:
            verdict = Verdict.DEAD
        elif now_s >= self._ping_s:
            self._looks += 1
            verdict = Verdict.SILENT
        self._due_s = min(self._ping_s, self._last_s + self.allowed_s)
        return verdict

    @property
    def _ping_s(self) -> float:
        """When the next one is due."""
        return self._last_s + self._interval_s * (self._looks + 1) + self._patience_s
