"""What goes into a member and what comes out of it: its configuration, what it must remember, what its shell has to
do. Shapes only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from manager.raft.log import Entry
from manager.raft.membership import Membership
from manager.raft.messages import Message

NOBODY: Final = 0
"""No member has this id."""

MAX_APPEND_BYTES: Final = 1024 * 1024
"""Data in one append (more only for one entry that is larger)."""

MAX_INFLIGHT_APPENDS: Final = 256
"""Unanswered appends to one follower."""

MAX_PROMOTION_LAG_ENTRIES: Final = 256
"""How far behind the commit index a learner may be when it gets its vote."""


@dataclass(frozen=True, slots=True)
class Config:
    """Who this member is, and how it behaves. Times in ticks."""

    id: int
    election_ticks: int = 10
    heartbeat_ticks: int = 1
    max_append_bytes: int = MAX_APPEND_BYTES
    max_inflight_appends: int = MAX_INFLIGHT_APPENDS
    max_promotion_lag_entries: int = MAX_PROMOTION_LAG_ENTRIES


class HardState(NamedTuple):
    """What must survive a crash beside the log."""

    term: int = 0
    vote: int = NOBODY


@dataclass(frozen=True, slots=True)
class SnapshotPoint:
    """What a snapshot holds: all entries up to `index`, whose term was `term`, and the membership there."""

    index: int
    term: int
    membership: Membership


class Ready(NamedTuple):
    """What the shell has to do, in one go. `number` counts up from 1.

    `messages` may leave at once. First `snapshot` (one that came by a message: the shell has its contents) becomes durable and replaces log and
    store; then `hard_state` (None: as before) and `entries` go to disk; `commit` may be written along with them. When
    all that is durable, the shell calls `persisted(number)` and lets `messages_after` leave. `committed` is to be
    applied in order, now. `reads` are requests of `read` and the index that the store must have reached to answer them.
    `snapshots_wanted`: members that need a snapshot; the shell sends each a message of `snapshot_message` behind the
    contents and says `snapshot_ended`.
    """

    number: int
    messages: tuple[Message, ...]
    hard_state: HardState | None
    entries: tuple[Entry, ...]
    commit: int
    messages_after: tuple[Message, ...]
    committed: tuple[Entry, ...]
    snapshot: SnapshotPoint | None = None
    reads: tuple[tuple[int, int], ...] = ()
    snapshots_wanted: tuple[int, ...] = ()

    @property
    def must_write(self) -> bool:
        return self.hard_state is not None or bool(self.entries) or self.snapshot is not None
