"""Majorities: who voted how, and which index a majority has. Pure. Source: the Raft paper, sections 5.2 and 5.3."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence


class Outcome(enum.Enum):
    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def quorum(members: int) -> int:
    """How many of `members` are a majority."""
    return members // 2 + 1


def majority_index(indexes: Sequence[int]) -> int:
    """The highest index that a majority has, from the index that each member has."""
    return sorted(indexes, reverse=True)[quorum(len(indexes)) - 1]


class Votes:
    """The votes of one election. A member's first answer counts; answers of strangers do not."""

    def __init__(self, members: Iterable[int]) -> None:
        self._members = frozenset(members)
        self._granted: dict[int, bool] = {}

    def record(self, member: int, granted: bool) -> Outcome:
        if member in self._members:
            self._granted.setdefault(member, granted)
        return self.outcome()

    def outcome(self) -> Outcome:
        needed = quorum(len(self._members))
        granted = sum(self._granted.values())
        if granted >= needed:
            return Outcome.WON
        refused = len(self._granted) - granted
        return Outcome.LOST if len(self._members) - refused < needed else Outcome.PENDING
