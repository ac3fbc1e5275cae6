"""A process that can be paused, killed and started again: what it had planned for later does not outlive it.

Owns life and death; what the process does is its subclass's table of actions (`Process` is held, not inherited).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.world import World


class Process:
    """`drift_permille` makes its clock of durations run slow (positive) or fast."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = False
        self.paused = False
        self.drift_permille = 0
        self.wall_skew_ns = 0
        self._life = 0
        self._deferred: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def begin(self) -> None:
        assert not self.alive
        self.alive = True

    def end(self) -> None:
        self.alive = False
        self.paused = False
        self._life += 1
        self._deferred.clear()

    def later(self, delay_ns: int, action: Callable[..., object], *arguments: Any) -> None:
        """As World.later, unless the process ends before; while it is paused, it waits."""
        self.world.later(delay_ns, self._fire, self._life, action, arguments)

    def ticks(self, delay_ns: int) -> int:
        """How long this process takes for what it thinks is `delay_ns`."""
        return delay_ns + delay_ns * self.drift_permille // 1000 if self.drift_permille else delay_ns

    def pause(self) -> None:
        self.paused = self.alive
        self.world.occurred["process paused"] += self.alive

    def resume(self) -> None:
        self.paused = False
        deferred, self._deferred = self._deferred, []
        for action, arguments in deferred:
            self.world.later(0, self._fire, self._life, action, arguments)

    def _fire(self, life: int, action: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        if life != self._life:
            return
        if self.paused:
            self._deferred.append((action, arguments))
            return
        action(*arguments)
