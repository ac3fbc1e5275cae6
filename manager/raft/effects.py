"""What a member asks its shell to do. Shapes only; manager/raft/member.py makes them, manager/raft/driver.py and the
simulated world perform them.

Effects are to be performed in the order in which they come. One Write or Reserve is under way at a time.
"""

from __future__ import annotations

from typing import NamedTuple

from cluster.model.errors import ClusterError
from manager.raft.messages import Message
from manager.raft_storage.records import Record
from manager.raft_storage.snapshots import Snapshot
from manager.store import Batch

Answer = Batch | ClusterError | None
"""What came of a proposal (the batch), of a change of the membership or a read (None), or why nothing did."""


class Send(NamedTuple):
    """May leave at once, and may be lost."""

    message: Message


class Resolve(NamedTuple):
    """Who hold these tickets have their answers, one after the other."""

    answers: list[tuple[int, Answer]]


class Write(NamedTuple):
    """Make durable: first the snapshot (a leader's, which takes the place of all that was here), then the record. Then
    call `wrote`.
    """

    record: Record
    snapshot: Snapshot | None


class Reserve(NamedTuple):
    """Make room for records of this size, then call `reserved`."""

    size_bytes: int


class Save(NamedTuple):
    """Make this own snapshot durable and remove older ones but the last `keep_old`, then call `saved`."""

    snapshot: Snapshot
    keep_old: int


class Release(NamedTuple):
    """The log on disk may forget what is at or below this index."""

    up_to: int


class SendSnapshot(NamedTuple):
    """Send the newest snapshot on disk to the member, behind it the message of `snapshot_message`; then call
    `snapshot_sent`.
    """

    member: int


class Changed(NamedTuple):
    """Something of leadership, membership or removal is not as it was."""


Effect = Send | Resolve | Write | Reserve | Save | Release | SendSnapshot | Changed
