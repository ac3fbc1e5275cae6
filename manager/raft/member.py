"""One member of the group as a value machine: what its shell does with core.py's Readys, decided without a disk, a
network or a clock.

Owns the queue of proposals, what was asked and not answered yet, and the store's progress; what waits to be written is group_commit.py's.
Events come in by methods; `advance` says what follows from all of them, as effects (effects.py) that the shell takes
and performs, and `settle` has the store follow, piece by piece: what others and the disk wait for leaves before the store takes its time,
and who has an answer already asks for the next thing while the others' are made.
Decides nothing of Raft: core.py does.

What is to be sent at once leaves before the own disk writes. An entry is applied to the store when it is committed and durable here, and its
proposer gets what came of it. A leader's full disk refuses proposals; a follower whose disk is full stops.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from itertools import count, islice
from typing import Final

import msgspec

from cluster.model.changes import Change
from cluster.model.errors import ClusterError, InvalidArgument, NotLeader, Unavailable
from cluster.wire.codec import decode_changes, encode_changes
from manager.raft.core import Raft, Role
from manager.raft.effects import Answer, Changed, Effect, Release, Resolve, Save, Send, SendSnapshot
from manager.raft.group_commit import MAX_GROUP_BYTES, GroupCommit
from manager.raft.log import Entry, EntryKind
from manager.raft.membership import Membership
from manager.raft.messages import Message
from manager.raft.ready import NOBODY, HardState, Ready, SnapshotPoint
from manager.raft.snapshotting import Snapshotting
from manager.raft_storage.faults import LogFull
from manager.raft_storage.records import ENTRY_OVERHEAD_BYTES
from manager.raft_storage.snapshots import Snapshot
from manager.store import Loading, Store

MAX_ENTRY_BYTES: Final = 1536 * 1024
"""Longest entry, as in SwarmKit."""

SETTLED_AT_ONCE: Final = 256
"""Entries that a shell has the store take in one turn: who asked has the answer and asks again while the store takes the next ones, and a message
of another member waits no longer than for these."""

MAX_BEHIND_ENTRIES: Final = 4096
"""Entries by which a follower's store may be behind while it writes."""

_MEMBERSHIP: Final = EntryKind.MEMBERSHIP  # once, for every entry is asked whether it is one

LOST: Final = "the leadership was lost; whether the change was made is not known"
STOPPING: Final = "the manager is stopping"


class Proposal(msgspec.Struct, frozen=True, gc=False):
    """Changes that fit into one entry, as objects and as bytes."""

    changes: tuple[Change, ...]
    data: bytes


class _Asked(msgspec.Struct, frozen=True, gc=False):
    """A proposal or a change of the membership that is in the log: whose entry has this term is its own."""

    ticket: int
    term: int
    changes: tuple[Change, ...] = ()


def prepare(changes: tuple[Change, ...]) -> Proposal:
    """Raises InvalidArgument when they are too large."""
    data = encode_changes(changes)
    if len(data) > MAX_ENTRY_BYTES:
        raise InvalidArgument(f"the change takes {len(data)} bytes in the log; the limit is {MAX_ENTRY_BYTES}")
    return Proposal(decode_changes(data), data)  # what cannot be read back must never enter the log


class RaftMember:
    """`room_bytes`: what can be appended to the log without asking the disk for room. `group_bytes`: data of the
    entries that become one write.
    """

    def __init__(self, store: Store, raft: Raft, room_bytes: int, group_bytes: int = MAX_GROUP_BYTES) -> None:
        self._store = store
        self._raft = raft
        self._snapshotting = Snapshotting(store, raft.log.offset)
        self._effects: list[Effect] = []
        self._tickets = count(1)
        self._inbox: deque[tuple[Message, Snapshot | None]] = deque()
        self._ticked = False
        self._queue: deque[tuple[int, Proposal]] = deque()
        self._logged: dict[int, _Asked] = {}  # by index of their entry
        self._disk = GroupCommit(HardState(raft.term, raft.vote), room_bytes, group_bytes)
        self._unsettled: deque[tuple[Ready, Snapshot | None]] = deque()  # each with the snapshot that came with it
        self._settled_of_first = 0  # entries of the first of them that the store has seen
        self._loading: Loading | None = None  # the snapshot that came with the first of them
        self._behind = 0  # entries of them that it has not
        self._applied = raft.log.applied
        self._received: dict[int, Snapshot] = {}  # by index, until the Ready that is about it: there may be several, and an older one last
        self._leads = False
        self._stopped = False
        self._seen: tuple[object, ...] = ()
        self._reads: dict[int, None] = {}  # tickets, in the order in which they came
        self._reads_due: list[tuple[int, int]] = []  # (index that must be applied, ticket)

    # -- what is known

    @property
    def leads(self) -> bool:
        """Whether this member leads and its store holds all that was ever acknowledged."""
        return self._leads and not self._stopped

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def raft(self) -> Raft:
        """For looking only."""
        return self._raft

    @property
    def applied(self) -> int:
        """Index of the last entry that the store has seen."""
        return self._applied

    @property
    def is_writing(self) -> bool:
        """Whether a Write or Reserve is under way."""
        return self._disk.busy

    @property
    def membership(self) -> Membership:
        """The latest that is in the log, committed or not."""
        return self._raft.membership

    @property
    def alone(self) -> bool:
        """Whether there is nobody to hear from: time does not matter then."""
        return self.membership.ids == (self._raft.config.id,)

    @property
    def leader_address(self) -> str:
        """host:port of the member that leads, empty when none is known."""
        known = {member.raft_id: member.address for member in self.membership.members}
        return known.get(self._raft.leader, "")

    def has_caught_up(self, member: int) -> bool:
        """Whether a learner may be given its vote; False also where this member does not lead."""
        return self._raft.role is Role.LEADER and self._raft.has_caught_up(member)

    def check_leads(self) -> None:
        """Raises Unavailable when this member is stopping, NotLeader when it does not lead."""
        if self._stopped:
            raise Unavailable(STOPPING)
        if not self._leads:
            raise NotLeader(self.leader_address)

    # -- what is asked for: each of these returns a ticket, which a Resolve answers

    def propose(self, proposal: Proposal) -> int:
        """Its answer is the batch, or NotLeader (nothing was made of it), Unavailable (no room on disk, stopping, the
        leadership lost meanwhile), or what Store.apply raised. Raises as `check_leads`.
        """
        self.check_leads()
        ticket = next(self._tickets)
        self._queue.append((ticket, proposal))
        return ticket

    def change_membership(self, new: Membership) -> int:
        """Raises as `check_leads`, and FailedPrecondition (core.propose_membership)."""
        self.check_leads()
        ticket = next(self._tickets)
        self._logged[self._raft.propose_membership(new)] = _Asked(ticket, self._raft.term)
        self._effects.append(Changed())
        return ticket

    def read(self) -> int | None:
        """Answered (None, or NotLeader) when the store holds all that was acknowledged before the call; no ticket when
        it does already. Raises as `check_leads`.
        """
        self.check_leads()
        if self.membership.voters == (self._raft.config.id,):
            return None
        ticket = next(self._tickets)
        self._reads[ticket] = None
        self._raft.read(ticket)
        return ticket

    def transfer(self, to: int = NOBODY) -> int:
        """Hand over to a voter; to whom, NOBODY when there is none. Raises as `check_leads`."""
        self.check_leads()
        return self._raft.transfer(to)

    # -- what happens

    def start(self) -> None:
        self._raft.start()

    def receive(self, messages: Sequence[Message], snapshot: Snapshot | None = None) -> None:
        """Messages of another member; `snapshot` is what a SNAPSHOT, the only one then, speaks of."""
        self._inbox.extend((message, snapshot) for message in messages)

    def lost(self, member: int) -> None:
        """The connection to this member broke."""
        self._raft.lost(member)

    def tick(self) -> bool:
        """Time has passed; False when nothing follows from it. A process that was paused makes one tick of it: the
        others' messages are read before it may think them dead.
        """
        if self._inbox or self._ticked:
            self._ticked = True
            return True
        return self._raft.tick()

    def wrote(self, room_bytes: int) -> None:
        """The last Write is durable."""
        self._persisted(self._disk.wrote(room_bytes))

    def reserved(self, room_bytes: int, full: LogFull | None) -> None:
        """There is room, or (`full`) there is none: who waits is refused, and a voter whose disk may have room is to lead."""
        self._disk.reserved(room_bytes)
        if full is not None:
            self._refuse_queued(Unavailable(str(full)))
            if self.leads:
                self._raft.transfer(NOBODY)

    def snapshot_now(self) -> Snapshot:
        """The store as it is."""
        self.settle()
        return self._snapshotting.of_now(self._raft.log)

    def ask_snapshot(self) -> None:
        """Save the store now, whatever happened since the last time."""
        self._snapshotting.ask()

    def saved(self, snapshot: Snapshot, store_bytes: int | None) -> None:
        """The snapshot of a Save is on disk, and its store takes so many bytes; None: there was no room for it."""
        forget = self._snapshotting.ended(snapshot, store_bytes, self._raft.log)
        if forget is not None:
            self._raft.log.compact(forget)
            self._effects.append(Release(snapshot.index))

    def snapshot_message(self, member: int, snapshot: Snapshot) -> Message | None:
        """What follows the contents of this snapshot on their way to the member; None when it is not to be sent."""
        if snapshot.membership is None or self._raft.role is not Role.LEADER:
            return None
        return self._raft.snapshot_message(member, SnapshotPoint(snapshot.index, snapshot.term, snapshot.membership))

    def snapshot_sent(self, member: int, index: int | None) -> None:
        """The contents of a snapshot have left for the member (None: they could not)."""
        self._raft.snapshot_ended(member, index)

    def stop(self) -> None:
        """Answer all who wait. Nothing is done any more."""
        self._stopped = True
        self._lose(Unavailable(f"{STOPPING}; whether the change was made is not known"), Unavailable(STOPPING))
        self._effects.append(Changed())

    # -- what follows

    def take_effects(self) -> list[Effect]:
        """What is to be done, in this order."""
        effects, self._effects = self._effects, []
        return effects

    def advance(self) -> None:
        """Decide what follows from all that has come since the last time. `settle` comes next, or (`may_settle_later`) when the write is durable."""
        self._take_in()
        while True:
            while (ready := self._raft.ready()) is not None:
                self._do(ready)
            if not self._write():
                break
        self._received.clear()

    @property
    def is_settled(self) -> bool:
        """Whether the store has seen all that is committed and durable here."""
        return not self._unsettled

    @property
    def may_settle_later(self) -> bool:
        """Whether the leader waits for a write of this follower, and nobody for its store: what is durable is to be acknowledged before the store
        takes its time. One that is far behind, or loads a snapshot, has its turn all the same.
        """
        waits = self._disk.busy and bool(self._unsettled) and self._behind <= MAX_BEHIND_ENTRIES and self._loading is None
        return waits and not self._leads and self._raft.role is not Role.LEADER

    def settle(self, limit: int = sys.maxsize) -> None:
        """Bring the store towards what is committed, by at most `limit` entries or objects of a snapshot, and answer who waits for these."""
        if self._leads and self._raft.role is not Role.LEADER:
            limit = sys.maxsize  # who has lost its leadership says what is known before it says what is not
        while self._unsettled and limit > 0:
            limit -= self._settle_some(limit)
        self._watch_role()
        if not self._unsettled and (snapshot := self._snapshotting.take(self._raft.log)) is not None:
            self._effects.append(Save(snapshot, self._snapshotting.keep_old))

    def _take_in(self) -> None:
        while self._inbox:
            message, snapshot = self._inbox.popleft()
            if snapshot is not None:
                self._received[snapshot.index] = snapshot
            self._raft.step(message)
        if self._ticked:
            self._ticked = False
            self._raft.tick()
        self._take_proposals()

    def _take_proposals(self) -> None:
        """Put what is queued into the log, as far as there is room."""
        if not self._queue:
            return
        if self._raft.role is not Role.LEADER:
            self._refuse_queued(NotLeader(self.leader_address))
            return
        size = number = 0
        for _, proposal in self._queue:
            size += len(proposal.data) + ENTRY_OVERHEAD_BYTES
            if number and size > self._disk.group_bytes:
                break
            number += 1
        if not self._disk.has_room(size):
            if (reserve := self._disk.reserve(size)) is not None:
                self._effects.append(reserve)
            return
        taken = list(islice(self._queue, number))
        try:
            first = self._raft.propose([proposal.data for _, proposal in taken])
        except NotLeader:
            return  # it is being handed over: they wait for what comes of it
        term = self._raft.term
        for index, (ticket, proposal) in enumerate(taken, first):
            self._logged[index] = _Asked(ticket, term, proposal.changes)
            self._queue.popleft()

    def _do(self, ready: Ready) -> None:
        """What one Ready asks for, but for the write, which waits for its turn, and the store."""
        self._effects.extend(map(Send, ready.messages))
        snapshot = self._received[ready.snapshot.index] if ready.snapshot else None
        if ready.must_write or ready.messages_after:
            self._disk.add(ready, snapshot)
        self._effects.extend(map(SendSnapshot, ready.snapshots_wanted))
        if ready.snapshot is not None or ready.committed or ready.reads:
            self._unsettled.append((ready, snapshot))
            self._behind += len(ready.committed)

    def _settle_some(self, limit: int) -> int:
        """At most `limit` entries, or objects of a snapshot, of the first Ready that the store has not seen; how many."""
        ready, snapshot = self._unsettled[0]
        if snapshot is not None:
            return self._load(ready, snapshot, limit)
        start = self._settled_of_first
        entries = ready.committed[start : start + limit]
        for entry in entries:
            self._apply(entry)
        if entries:
            self._snapshotting.applied(sum([len(entry.data) for entry in entries]))
            self._applied = entries[-1].index
            self._behind -= len(entries)
            self._settled_of_first += len(entries)
        if self._settled_of_first == len(ready.committed):
            self._unsettled.popleft()
            self._settled_of_first = 0
            self._reads_due.extend((index, ticket) for ticket, index in ready.reads)
        self._answer_reads()
        return len(entries)

    def _load(self, ready: Ready, snapshot: Snapshot, limit: int) -> int:
        """At most `limit` more objects of the leader's snapshot that came with the Ready, beside the store as it is; how many. With the last of them
        the store becomes what they are.
        """
        if self._loading is None:
            self._loading = Loading(snapshot.data)
        number = self._loading.load(limit)
        if self._loading.done:
            self._store.become(self._loading)
            self._loading = None
            self._unsettled[0] = (ready, None)
            self._snapshotting.restored(snapshot.index)
            self._applied = snapshot.index
        return number

    def _apply(self, entry: Entry) -> None:
        asked = self._logged.pop(entry.index, None)
        if asked is not None and asked.term != entry.term:
            self._resolve(asked.ticket, Unavailable(LOST))
            asked = None
        if entry.kind is _MEMBERSHIP:
            self._effects.append(Changed())
            if asked is not None:
                self._resolve(asked.ticket, None)
            return
        if not entry.data:
            if entry.term == self._raft.term and self._raft.role is Role.LEADER:
                self._leads = True
                self._effects.append(Changed())
            return
        answer: Answer
        try:
            answer = self._store.apply(entry.index, asked.changes if asked else decode_changes(entry.data))
        except ClusterError as error:
            answer = error
        if asked is not None:
            self._resolve(asked.ticket, answer)

    def _answer_reads(self) -> None:
        waiting = []
        for index, ticket in self._reads_due:
            if index > self._applied:
                waiting.append((index, ticket))
            elif ticket in self._reads:
                del self._reads[ticket]
                self._resolve(ticket, None)
        self._reads_due = waiting

    def _watch_role(self) -> None:
        """Tell who waits when the leadership is gone, and everybody when leader or membership changed or a learner has caught up."""
        ready = tuple(member.raft_id for member in self.membership.members if member.learner and self.has_caught_up(member.raft_id))
        now = (self._raft.role is Role.LEADER, self._raft.leader, self._raft.removed, self._raft.went_back, ready)
        if now == self._seen:
            return
        self._seen = now
        if self._leads and self._raft.role is not Role.LEADER:
            self._leads = False
            self._lose(Unavailable(LOST), NotLeader(self.leader_address))
        self._effects.append(Changed())

    # -- the disk

    def _write(self) -> bool:
        """Ask for what waits to be written. True when nothing had to be: what waited for the writes before it only has been let go."""
        readys = self._disk.take()
        if not readys:
            return False
        if not any(ready.must_write for ready in readys):
            self._persisted(readys)
            return True
        self._effects.append(self._disk.write(readys))
        return False

    def _persisted(self, readys: Sequence[Ready]) -> None:
        self._raft.persisted(readys[-1].number)
        for ready in readys:
            self._effects.extend(map(Send, ready.messages_after))

    # -- answers

    def _resolve(self, ticket: int, answer: Answer) -> None:
        if not self._effects or type(last := self._effects[-1]) is not Resolve:
            last = Resolve([])
            self._effects.append(last)
        last.answers.append((ticket, answer))

    def _refuse_queued(self, error: ClusterError) -> None:
        while self._queue:
            self._resolve(self._queue.popleft()[0], error)

    def _lose(self, logged: ClusterError, queued: ClusterError) -> None:
        self._refuse_queued(queued)
        for asked in self._logged.values():
            self._resolve(asked.ticket, logged)
        for ticket in self._reads:
            self._resolve(ticket, queued)
        self._logged.clear()
        self._reads.clear()
        self._reads_due.clear()
