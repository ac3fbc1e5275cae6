"""What a member has on its way to the disk: one write at a time, and all that comes meanwhile becomes the next one, as one record (group commit).

Owns the queue before the disk, and what is known of the room there. Room is reserved before a leader takes an entry into its log, so that a full
disk refuses proposals and leaves nothing undecided. Decides nothing of Raft and performs nothing: manager/raft/member.py hands out the effects. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from manager.raft.effects import Reserve, Write
from manager.raft.ready import HardState, Ready
from manager.raft_storage.records import Record, record_bytes
from manager.raft_storage.snapshots import Snapshot

MAX_GROUP_BYTES: Final = 4 * 1024 * 1024
"""Data of the entries that become one write."""


class _Waiting(NamedTuple):
    """A Ready that waits for the disk, what its entries take there, and the leader's snapshot that it is about."""

    ready: Ready
    size_bytes: int
    snapshot: Snapshot | None


class GroupCommit:
    """`state`: what is on disk. `room_bytes`: what can be appended to the log without asking the disk for room. `group_bytes`: data of the entries that become
    one write."""

    def __init__(self, state: HardState, room_bytes: int, group_bytes: int = MAX_GROUP_BYTES) -> None:
        self.busy = False  # a Write or Reserve is under way
        self.group_bytes = group_bytes
        self._state = state  # that is on its way to the disk or there
        self._room_bytes = room_bytes
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0  # of what waits, and of what is being written
        self._writing: Sequence[_Waiting] = ()

    def add(self, ready: Ready, snapshot: Snapshot | None) -> None:
        """It waits for its turn: also what has nothing to write, when messages are to follow the writes before it."""
        size = record_bytes(ready.entries)
        self._waiting.append(_Waiting(ready, size, snapshot))
        self._bytes += size

    def has_room(self, size_bytes: int) -> bool:
        """Whether a record with entries of this size can follow what waits."""
        return size_bytes + record_bytes(()) <= self._room_bytes - self._bytes

    def reserve(self, size_bytes: int) -> Reserve | None:
        """Ask for that room. None while anything waits or is under way: when that is done, there may be room."""
        if self.busy or self._waiting:
            return None
        self.busy = True
        return Reserve(size_bytes + record_bytes(()))

    def reserved(self, room_bytes: int) -> None:
        """The disk was asked."""
        self.busy = False
        self._room_bytes = room_bytes

    def take(self) -> Sequence[Ready]:
        """What is next: as much as one record takes; a leader's snapshot begins one. Nothing while the disk is busy. Where
        any of it has to be written, that is for `write`; else it only waited for the writes before it."""
        if self.busy or not self._waiting:
            return ()
        group = [self._waiting.popleft()]
        size = group[0].size_bytes
        while self._waiting and self._waiting[0].ready.snapshot is None:
            size += self._waiting[0].size_bytes
            if size > self.group_bytes:
                break
            group.append(self._waiting.popleft())
        self._writing = group
        readys = [waiting.ready for waiting in group]
        if not any(ready.must_write for ready in readys):
            self._end()
        return readys

    def write(self, readys: Sequence[Ready]) -> Write:
        """Have what was taken written, with the leader's snapshot that the first of it is about."""
        snapshot = self._writing[0].snapshot
        self.busy = True
        for ready in readys:
            self._state = ready.hard_state or self._state
        entries = readys[0].entries if len(readys) == 1 else tuple([entry for ready in readys for entry in ready.entries])
        restored = snapshot.index if snapshot else 0
        return Write(Record(self._state.term, self._state.vote, readys[-1].commit, entries, restored), snapshot)

    def wrote(self, room_bytes: int) -> Sequence[Ready]:
        """The last Write is durable; what was taken for it."""
        self.busy = False
        self._room_bytes = room_bytes
        return self._end()

    def _end(self) -> Sequence[Ready]:
        group, self._writing = self._writing, ()
        for waiting in group:
            self._bytes -= waiting.size_bytes
        return [waiting.ready for waiting in group]
