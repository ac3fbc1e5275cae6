"""What members say to each other. Shapes only; manager/raft/core.py makes and reads them."""

from __future__ import annotations

import enum

import msgspec

from manager.raft.log import Entry
from manager.raft.membership import Membership
from manager.raft.witness import Held


class MessageKind(enum.IntEnum):
    """Numbers on the wire. Never renumber."""

    PRE_VOTE = 1
    PRE_VOTE_REPLY = 2
    VOTE = 3
    VOTE_REPLY = 4
    APPEND = 5
    APPEND_REPLY = 6
    HEARTBEAT = 7
    HEARTBEAT_REPLY = 8
    SNAPSHOT = 9
    CAMPAIGN_NOW = 10
    REMOVED = 11
    HELD = 12


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message. What `index` and `log_term` mean depends on the kind:

    votes: the end of the candidate's log, `transfer` when the leader itself asked for the election. APPEND: the entry
    before `entries`. APPEND_REPLY: the index up to which the logs agree; when `reject`, the entry that was missing,
    with `hint` and `log_term` naming the latest place where the logs may agree. HEARTBEAT and its reply: `read` is the
    leader's last round of reads, `held` what each member's log is known to hold (witness.py). SNAPSHOT: the last entry
    that the snapshot holds, and the membership there; whoever steps it has all of the snapshot already. CAMPAIGN_NOW:
    the leader hands over. REMOVED: the sender knows that the receiver is no member any more. HELD: it knows the
    receiver to hold the committed entry at `index`.
    """

    kind: MessageKind
    sender: int
    to: int
    term: int
    index: int = 0
    log_term: int = 0
    entries: tuple[Entry, ...] = ()
    commit: int = 0
    reject: bool = False
    hint: int = 0
    read: int = 0
    transfer: bool = False
    membership: Membership | None = None
    held: tuple[Held, ...] = ()
