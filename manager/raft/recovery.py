"""The member as it was before it stopped, from its snapshot and its log; and the times by which members live. Pure."""

from __future__ import annotations

from typing import Final

from manager.raft.log import Entry, EntryKind, Log
from manager.raft.membership import Member, Membership, encode, of_voters
from manager.raft.ready import NOBODY, HardState
from manager.raft_storage.faults import Damaged
from manager.raft_storage.records import Record, Recovered
from manager.raft_storage.snapshots import Snapshot

TICK_S: Final = 0.05
ELECTION_TICKS: Final = 12
HEARTBEAT_TICKS: Final = 2
"""A leader is heard every 100 ms; who hears none for 0.6 to 1.2 s stands for election."""

FOUNDER: Final = 1
"""The Raft id of the member that made the cluster."""


def founded(raft_id: int) -> Membership:
    """The group before the first entry of its log, as this member knows it: the founder's, who is alone, or nobody."""
    return of_voters(FOUNDER) if raft_id == FOUNDER else Membership()


def recover(directory: str, recovered: Recovered, snapshot: Snapshot | None, base: Membership) -> tuple[HardState, Log]:
    """What the core begins with, of a log that goes on from its snapshot (`overtaken`); `base` is the membership before the
    first entry. Raises Damaged when entries between snapshot and log are missing.
    """
    offset, offset_term = (snapshot.index, snapshot.term) if snapshot else (0, 0)
    entries = tuple(entry for entry in recovered.entries if entry.index > offset)
    if entries and entries[0].index != offset + 1:
        raise Damaged(directory, f"the log starts at entry {entries[0].index}, the snapshot ends at {offset}")
    if snapshot and snapshot.membership:
        base = snapshot.membership
    return HardState(recovered.term, recovered.vote), Log(entries, offset, offset_term, recovered.commit, base)


def overtaken(recovered: Recovered, snapshot: Snapshot | None) -> Record | None:
    """What has to be written behind this log before anything else is: a leader's snapshot became durable, and a crash came
    before the log said so, whose entries do not lead to what will follow. None where the log goes on from the snapshot.
    """
    if snapshot is None or not recovered.entries or recovered.entries[0].index > snapshot.index:
        return None
    if any((entry.index, entry.term) == (snapshot.index, snapshot.term) for entry in recovered.entries):
        return None
    return Record(recovered.term, recovered.vote, recovered.commit, restored=snapshot.index)


def alone(recovered: Recovered, log: Log, me: Member) -> Record:
    """What makes this member the only one of its group, when it is written behind what was recovered: for a cluster that has
    lost its majority. All that is in this log stays, for what others have acknowledged may be among it.
    """
    term = max(recovered.term, log.last_term) + 1
    membership = Membership((me,), max(log.membership.last_id, me.raft_id))
    return Record(term, NOBODY, log.committed, (Entry(log.last + 1, term, encode(membership), EntryKind.MEMBERSHIP),))


def with_record(recovered: Recovered, record: Record) -> Recovered:
    """What would be recovered after the record, whose entries follow those that are there (or, behind a snapshot, stand alone)."""
    before = () if record.restored else recovered.entries
    return Recovered(record.term, record.vote, record.commit, (*before, *record.entries))
