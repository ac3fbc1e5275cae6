"""What managers say to each other, and what people ask of their log."""

from __future__ import annotations

from cluster.wire import versions
from cluster.wire.calls.body import Body


class Follow(Body, frozen=True):
    """A manager asks another for all that it has to say to it. The answer is a stream that lasts as long as the connection."""

    raft_id: int  # of the one that asks
    protocol: int = versions.FIRST  # that it speaks
    process: str = ""  # drawn by each process for itself, as OpenSession.process


class RaftFrame(Body, frozen=True):
    """Messages as manager/raft/messages.py encodes them, or a piece of a snapshot; the message that a snapshot's last piece comes with speaks of it."""

    messages: bytes = b""
    snapshot: bytes = b""
    snapshot_ends: bool = False


class JoinManagers(Body, frozen=True):
    """A node with a manager's certificate asks to become a member of the Raft group. `address`: host:port of its port."""

    address: str
    protocol: int = versions.FIRST


class JoinedManagers(Body, frozen=True):
    """`members`: (Raft id, node id, host:port) of those that are there already, from whom the new one hears the rest."""

    raft_id: int
    members: tuple[tuple[int, str, str], ...]


class RaftPeer(Body, frozen=True):
    """A member as the one that is asked knows it. `state`: its role where it is that one itself (leader, follower, pre-candidate, candidate), else what the
    leader does with it (probe, replicate, snapshot) or unknown; of one without a vote after `learner, `."""

    raft_id: int
    node_id: str
    address: str
    state: str
    reachable: bool
    match: int  # last entry that is known to be there
    next: int  # first entry to send; 0 where the one that is asked does not lead
    hostname: str = ""


class RaftStatus(Body, frozen=True):
    """The log and writes of the member that is asked (the latest `writes` of them, pwrite and fdatasync together), and what it knows of the others."""

    raft_id: int
    term: int
    first: int
    last: int
    committed: int
    applied: int
    log_bytes: int
    snapshot: int  # the last entry in it; 0 without one
    snapshot_bytes: int
    writes: int
    write_p50_ns: int
    write_p99_ns: int
    peers: tuple[RaftPeer, ...] = ()


class AskRaftLog(Body, frozen=True):
    tail: int  # so many of the newest entries


class LoggedEntry(Body, frozen=True):
    """`kind`: term (with which a leader opens its own), membership, changes. `changes`: (op, kind, id, what it is afterwards, encoded; empty for DELETE),
    without secrets. `members`: (Raft id, node id, host:port, learner)."""

    index: int
    term: int
    size_bytes: int
    kind: str
    changes: tuple[tuple[int, int, str, bytes], ...] = ()
    members: tuple[tuple[int, str, str, bool], ...] = ()


class RaftLog(Body, frozen=True):
    committed: int
    entries: tuple[LoggedEntry, ...]


class SaveSnapshot(Body, frozen=True):
    """The managers' whole state, to be kept elsewhere. The answer is the file in pieces, sealed under a key that this one opens."""

    key: bytes


class FilePiece(Body, frozen=True):
    data: bytes
