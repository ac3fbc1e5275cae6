"""What goes into a member and what comes out of it: its configuration, what it must remember, what its shell has to
do. Shapes only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from manager.raft.log import Entry
from manager.raft.messages import Message

NOBODY: Final = 0
"""No member has this id."""

MAX_APPEND_BYTES: Final = 1024 * 1024
"""Data in one append (more only for one entry that is larger)."""

MAX_INFLIGHT_APPENDS: Final = 256
"""Unanswered appends to one follower."""


@dataclass(frozen=True, slots=True)
class Config:
    """Who this member is. Times in ticks."""

    id: int
    members: tuple[int, ...]
    election_ticks: int = 10
    heartbeat_ticks: int = 1
    max_append_bytes: int = MAX_APPEND_BYTES
    max_inflight_appends: int = MAX_INFLIGHT_APPENDS


class HardState(NamedTuple):
    """What must survive a crash beside the log."""

    term: int = 0
    vote: int = NOBODY


class Ready(NamedTuple):
    """What the shell has to do, in one go. `number` counts up from 1.

    `messages` may leave at once. `hard_state` (None: as before) and `entries` go to disk; `commit` may be written
    along with them. When they are durable, the shell calls `persisted(number)` and lets `messages_after` leave.
    `committed` is to be applied in order, now.
    """

    number: int
    messages: tuple[Message, ...]
    hard_state: HardState | None
    entries: tuple[Entry, ...]
    commit: int
    messages_after: tuple[Message, ...]
    committed: tuple[Entry, ...]

    @property
    def must_write(self) -> bool:
        return self.hard_state is not None or bool(self.entries)
