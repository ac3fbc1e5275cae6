"""The reasons of a pending task for which others make way. Owns their words: the managers say them, and `--wait` reads from them that waiting helps."""

from __future__ import annotations

from typing import Final

_WAITS: Final = "waits for "
_TO_STOP: Final = " to stop"
_EVICTS: Final = "evicts "
_BEFORE: Final = "; "
"""Between why there is no node and these."""


def waits(names: str, hostname: str) -> str:
    """Of one that takes the room of tasks that stop anyway."""
    return f"{_WAITS}{names} on {hostname}{_TO_STOP}"


def evicts(names: str, hostname: str, highest: int, priority: int) -> str:
    """Of one that has just sent others away."""
    return f"{_EVICTS}{names} on {hostname} (priority {highest} is below {priority})"


def is_room_coming(reason: str) -> bool:
    """Whether a task with this reason is to be placed as soon as others have stopped."""
    _, found, last = reason.rpartition(_BEFORE)
    return bool(found) and (last.startswith(_EVICTS) or (last.startswith(_WAITS) and last.endswith(_TO_STOP)))
