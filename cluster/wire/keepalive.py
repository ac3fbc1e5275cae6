"""Looks at silent connections, all of a server's in one task: a task for each would cost more than their heartbeats do.

Owns when each is looked at; what silence means cluster/wire/silence.py decides, and the connection does it. Times are trio's.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Final, Protocol

import trio

LOOKS_PER_INTERVAL: Final = 20
"""Connections that are due are looked at together, so often in an interval."""


class Watched(Protocol):
    """A connection (cluster/wire/connection.py); in tests something else that can fall silent."""

    @property
    def look_due_s(self) -> float:
        """When to look the first time."""

    def look(self, now_s: float) -> float:
        """When to look next; infinity when there is nothing to look at any more."""


class Keepalive:
    """`run` must be running."""

    def __init__(self, interval_s: float) -> None:
        self._pause_s = interval_s / LOOKS_PER_INTERVAL
        self._due: list[tuple[float, int, Watched]] = []
        self._numbers = count()
        self._sooner = trio.Event()  # one is due before all others

    def add(self, watched: Watched) -> None:
        """Look at this one from now on."""
        due_s = watched.look_due_s
        if not self._due or due_s < self._due[0][0]:
            self._sooner.set()
        heapq.heappush(self._due, (due_s, next(self._numbers), watched))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._sooner = trio.Event()
            due_s = self._due[0][0] if self._due else float("inf")
            with trio.move_on_at(max(due_s, trio.current_time() + self._pause_s)):
                await self._sooner.wait()
            self._look(trio.current_time())

    def _look(self, now_s: float) -> None:
        while self._due and self._due[0][0] <= now_s:
            _, number, watched = heapq.heappop(self._due)
            next_s = watched.look(now_s)
            if next_s < float("inf"):
                heapq.heappush(self._due, (next_s, number, watched))
