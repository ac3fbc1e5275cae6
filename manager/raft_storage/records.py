"""What the log on disk says, as values: one record for each write, and what all of them come to. Pure; wal.py writes and
reads them.

A record carries the member's term, vote and commit index and the entries that became part of its log; an entry whose
index is there already replaces it and all behind it, and a snapshot of the leader's replaces them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from manager.raft.log import Entry
from manager.raft_storage import frames
from manager.raft_storage.faults import Damaged

ENTRY_OVERHEAD_BYTES: Final = 32
"""What an entry takes in a record beside its data, at most."""


class Record(msgspec.Struct, array_like=True, frozen=True):
    """One frame's payload. New fields go last and have defaults. `restored`: the index of a snapshot, durable already,
    behind which the log begins anew (0: it does not).
    """

    term: int
    vote: int
    commit: int
    entries: tuple[Entry, ...] = ()
    restored: int = 0


class Recovered(NamedTuple):
    """What the log says: the last record's state, and the entries that count."""

    term: int
    vote: int
    commit: int
    entries: tuple[Entry, ...]


_EMPTY_BYTES: Final = frames.frame_bytes(64)


def record_bytes(entries: Sequence[Entry]) -> int:
    """How much of a segment a record with these entries takes, at most."""
    return _EMPTY_BYTES + sum([len(entry.data) + ENTRY_OVERHEAD_BYTES for entry in entries]) if entries else _EMPTY_BYTES


def fold(records: Iterable[Record], directory: str) -> Recovered:
    """What the records, in the order in which they were written, come to. Raises Damaged for a gap."""
    term = vote = commit = 0
    entries: list[Entry] = []
    for record in records:
        term, vote, commit = record.term, record.vote, record.commit
        if record.restored:
            entries.clear()
        for entry in record.entries:
            if entries and entry.index > entries[-1].index + 1:
                raise Damaged(directory, f"the log has no entry {entries[-1].index + 1}")
            if entries and entry.index <= entries[-1].index:
                del entries[max(0, entry.index - entries[0].index) :]
            entries.append(entry)
    return Recovered(term, vote, commit, tuple(entries))
