"""Faults that wait for a moment: armed for a while, they happen to the first manager that comes there.

Owns what is armed. What then happens is faults.py's.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sim.world import World

if TYPE_CHECKING:
    from sim.manager import Manager


class Moment(enum.Enum):
    ELECTED = "elected"  # it has begun to lead, and nobody has heard of it
    COMMIT = "commit"  # as leader it has committed something, and nobody has heard of it


class _Trap(NamedTuple):
    moment: Moment
    until_ns: int
    action: Callable[[Manager], None]


class Traps:
    def __init__(self, world: World) -> None:
        self._world = world
        self._armed: list[_Trap] = []

    def set(self, moment: Moment, for_ns: int, action: Callable[[Manager], None]) -> None:
        """From now on, for so long, once."""
        self._armed.append(_Trap(moment, self._world.now_ns + for_ns, action))

    def spring(self, manager: Manager, moment: Moment) -> None:
        """The manager has come to this moment."""
        if not self._armed:
            return
        self._armed = [trap for trap in self._armed if trap.until_ns >= self._world.now_ns]
        due = next((trap for trap in self._armed if trap.moment is moment), None)
        if due is not None:
            self._armed.remove(due)
            due.action(manager)
