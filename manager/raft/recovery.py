"""The member as it was before it stopped: from its snapshot and its log to the Raft core. Pure."""

from __future__ import annotations

from random import Random
from typing import Final

from manager.raft.core import Raft
from manager.raft.log import Log
from manager.raft.membership import Membership, of_voters
from manager.raft.ready import Config, HardState
from manager.raft_storage.faults import Damaged
from manager.raft_storage.records import Recovered
from manager.raft_storage.snapshots import Snapshot

TICK_S: Final = 0.05
ELECTION_TICKS: Final = 12
HEARTBEAT_TICKS: Final = 2
"""A leader is heard every 100 ms; who hears none for 0.6 to 1.2 s stands for election."""

FOUNDER: Final = 1
"""The Raft id of the member that made the cluster."""


def recover(directory: str, recovered: Recovered, snapshot: Snapshot | None, raft_id: int, rng: Random) -> Raft:
    """Raises Damaged when entries between the two are missing."""
    offset, offset_term = (snapshot.index, snapshot.term) if snapshot else (0, 0)
    entries = tuple(entry for entry in recovered.entries if entry.index > offset)
    replaced = next((entry for entry in recovered.entries if entry.index == offset), None)
    if replaced is not None and replaced.term != offset_term:
        entries = ()  # a leader's snapshot, whose record in the log was not written any more
    if entries and entries[0].index != offset + 1:
        raise Damaged(directory, f"the log starts at entry {entries[0].index}, the snapshot ends at {offset}")
    founded = of_voters(FOUNDER) if raft_id == FOUNDER else Membership()
    base = snapshot.membership if snapshot and snapshot.membership else founded
    log = Log(entries, offset, offset_term, recovered.commit, base)
    config = Config(raft_id, ELECTION_TICKS, HEARTBEAT_TICKS)
    return Raft(config, HardState(recovered.term, recovered.vote), log, rng)
