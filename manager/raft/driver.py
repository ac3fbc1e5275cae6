"""The shell around the Raft core of one member: its log on disk, its store, those who propose, and the other members.
Owns the loop that moves entries from one to the other.

Decides nothing: manager/raft/core.py does. What is to be sent at once leaves before the own disk writes. One write is
in flight at a time; all that comes meanwhile becomes the next one (group commit). An entry is applied to the store when
it is committed and durable here, and its proposer gets what came of it. Room on disk is reserved before a leader takes
an entry into its log, so a full disk refuses proposals and leaves nothing undecided; a follower whose disk is full
stops.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

import trio

from cluster.model.changes import Change
from cluster.model.errors import ClusterError, InvalidArgument, NotLeader, Unavailable
from cluster.wire.codec import decode_changes, encode_changes
from manager.raft.core import Raft, Role
from manager.raft.log import Entry, EntryKind, Log
from manager.raft.membership import Membership, of_voters
from manager.raft.messages import Message
from manager.raft.outboxes import Outboxes
from manager.raft.ready import NOBODY, Config, HardState, Ready, SnapshotPoint
from manager.raft.snapshotting import Snapshotting
from manager.raft_storage import directory, key, snapshots
from manager.raft_storage.faults import Damaged, LogFull
from manager.raft_storage.snapshots import Snapshot
from manager.raft_storage.wal import ENTRY_OVERHEAD_BYTES, Record, Wal, record_bytes
from manager.raft_storage.writer import Writer
from manager.store import Batch, Store

MAX_ENTRY_BYTES: Final = 1536 * 1024
"""Longest entry, as in SwarmKit."""

MAX_GROUP_BYTES: Final = 4 * 1024 * 1024
"""Data of the entries that become one write."""

MAX_PROPOSALS: Final = 4096
"""Proposals under way; further proposers wait."""

TICK_S: Final = 0.05
ELECTION_TICKS: Final = 12
HEARTBEAT_TICKS: Final = 2
"""A leader is heard every 100 ms; who hears none for 0.6 to 1.2 s stands for election."""

FOUNDER: Final = 1
"""The Raft id of the member that made the cluster."""

LOST: Final = "the leadership was lost; whether the change was made is not known"
STOPPING: Final = "the manager is stopping"

_log: Final = logging.getLogger("festoon.raft")


class _Waiter:
    """One caller of `propose` or `change_membership`, from queue to answer."""

    __slots__ = ("changes", "data", "done", "outcome", "term")

    def __init__(self, changes: tuple[Change, ...] = (), data: bytes = b"", term: int = 0) -> None:
        self.changes = changes
        self.data = data
        self.term = term
        self.done = trio.Event()
        self.outcome: Batch | ClusterError | None = None

    def resolve(self, outcome: Batch | ClusterError | None) -> None:
        self.outcome = outcome
        self.done.set()

    async def wait(self) -> Batch | None:
        await self.done.wait()
        if isinstance(self.outcome, ClusterError):
            raise self.outcome
        return self.outcome


class Driver:
    """A running member. Made by `open_driver`."""

    def __init__(self, store: Store, raft: Raft, wal: Wal, snapshotting: Snapshotting, outboxes: Outboxes) -> None:
        self.outboxes = outboxes
        self._store = store
        self._raft = raft
        self._wal = wal
        self._snapshotting = snapshotting
        self._writer = Writer()
        self._wake = trio.Event()
        self._inbox: deque[tuple[Message, Snapshot | None]] = deque()
        self._queue: deque[_Waiter] = deque()
        self._capacity = trio.Semaphore(MAX_PROPOSALS)
        self._logged: dict[int, _Waiter] = {}  # by index of their entry
        self._unwritten: deque[Ready] = deque()
        self._unwritten_bytes = 0
        self._room_bytes = wal.room_bytes  # of the open segment, when the last write was done
        self._busy = False  # the writer thread has the log
        self._received: dict[int, Snapshot] = {}
        self._ticks = 0
        self._leads = False
        self._changed = trio.Event()
        self._stopped = False
        self._state = HardState(raft.term, raft.vote)  # that is on its way to the disk or there
        self._seen = (False, NOBODY, False)
        self._requests = count(1)
        self._reads: dict[int, trio.Event] = {}
        self._reads_due: list[tuple[int, int]] = []  # (index that must be applied, request)

    # -- what is known

    @property
    def leader(self) -> bool:
        """Whether this member leads and its store holds all that was ever acknowledged."""
        return self._leads and not self._stopped

    @property
    def removed(self) -> bool:
        """Whether this member was taken out of the group, for ever."""
        return self._raft.removed

    @property
    def raft_id(self) -> int:
        return self._raft.config.id

    @property
    def term(self) -> int:
        return self._raft.term

    @property
    def applied(self) -> int:
        """Index of the last entry that the store has seen."""
        return self._raft.log.applied

    @property
    def membership(self) -> Membership:
        """The latest that is in the log, committed or not."""
        return self._raft.membership

    @property
    def leader_address(self) -> str:
        """host:port of the member that leads, empty when none is known."""
        known = {member.raft_id: member.address for member in self.membership.members}
        return known.get(self._raft.leader, "")

    async def wait_leader(self) -> None:
        """Wait until `leader` is true. Raises Unavailable when the driver stops. Cancelling it does no harm."""
        while not self._leads and not self._stopped:
            await self._changed.wait()
        if self._stopped:
            raise Unavailable(STOPPING)

    async def wait_change(self) -> None:
        """Wait until something of leadership, membership or removal changes."""
        await self._changed.wait()

    # -- what is asked for

    async def propose(self, changes: tuple[Change, ...]) -> Batch:
        """Have the changes committed and applied, all or none; what came of it, once it is durable.

        Raises NotLeader (with the leader's address where it is known); Unavailable (no room on disk, stopping, the
        leadership lost meanwhile); InvalidArgument (too large); or what Store.apply raised. A cancelled call may still
        be committed.
        """
        data = encode_changes(changes)
        if len(data) > MAX_ENTRY_BYTES:
            raise InvalidArgument(f"the change takes {len(data)} bytes in the log; the limit is {MAX_ENTRY_BYTES}")
        checked = decode_changes(data)  # what cannot be read back must never enter the log
        async with self._capacity:
            self._check_leads()
            waiter = _Waiter(checked, data)
            self._queue.append(waiter)
            self._wake.set()
            batch = await waiter.wait()
        assert batch is not None
        return batch

    async def change_membership(self, change: Callable[[Membership], Membership]) -> Membership:
        """Have the membership that `change` makes of the latest one committed. Raises NotLeader, Unavailable,
        FailedPrecondition (core.propose_membership), and what `change` raises. Cancelled, it may still happen.
        """
        self._check_leads()
        new = change(self.membership)
        if new == self.membership:
            return new
        waiter = _Waiter(term=self._raft.term)
        self._logged[self._raft.propose_membership(new)] = waiter
        self._note_change()
        self._wake.set()
        await waiter.wait()
        return new

    async def wait_read(self) -> None:
        """Return when the store holds all that was acknowledged before the call. Raises NotLeader."""
        self._check_leads()
        if self.membership.voters == (self.raft_id,):
            return
        request = next(self._requests)
        done = self._reads[request] = trio.Event()
        self._raft.read(request)
        self._wake.set()
        try:
            await done.wait()
        finally:
            answered = self._reads.pop(request, None) is None
        if not answered:
            raise NotLeader(self.leader_address)

    async def hand_over(self, to: int = NOBODY) -> bool:
        """Give the leadership to another voter; whether that was done in time. Raises NotLeader."""
        self._check_leads()
        if self._raft.transfer(to) == NOBODY:
            return False
        self._wake.set()
        with trio.move_on_after(ELECTION_TICKS * TICK_S):
            while self._leads:
                await self._changed.wait()
        return not self._leads

    def has_caught_up(self, member: int) -> bool:
        """Whether a learner may be given its vote; False also where this member does not lead."""
        return self._raft.role is Role.LEADER and self._raft.has_caught_up(member)

    def receive(self, messages: Sequence[Message], snapshot: Snapshot | None = None) -> None:
        """Messages of another member came in; `snapshot` is what a SNAPSHOT, the only one then, speaks of."""
        self._inbox.extend((message, snapshot) for message in messages)
        self._wake.set()

    def snapshot_sent(self, member: int, index: int | None) -> None:
        """The contents of a snapshot have left for the member (None: they could not)."""
        self._raft.snapshot_ended(member, index)

    def _check_leads(self) -> None:
        if self._stopped:
            raise Unavailable(STOPPING)
        if not self._leads:
            raise NotLeader(self.leader_address)

    # -- the loop

    async def run(self) -> None:
        """Do what there is to do, whenever something happened. Runs until cancelled; `open_driver` calls it."""
        async with trio.open_nursery() as nursery:
            self._raft.start()
            nursery.start_soon(self._tick)
            while True:
                self._take_in()
                while (ready := self._raft.ready()) is not None:
                    self._do(ready, nursery)
                self._write()
                self._watch_role()
                if (snapshot := self._snapshotting.take(self._raft.log)) is not None:
                    nursery.start_soon(self._save, snapshot)
                await self._wake.wait()
                self._wake = trio.Event()

    async def _tick(self) -> None:
        """Time, for members that have others. A process that was paused makes one tick of it: the others' messages are
        read before it may think them dead.
        """
        while True:
            while self.membership.ids == (self.raft_id,):
                await self._changed.wait()
            await trio.sleep(TICK_S)
            self._ticks = 1
            self._wake.set()

    def _take_in(self) -> None:
        """All that has come since the last round: messages, time, proposals."""
        while self._inbox:
            message, snapshot = self._inbox.popleft()
            if snapshot is not None:
                self._received = {snapshot.index: snapshot}
            self._raft.step(message)
        if self._ticks:
            self._ticks = 0
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
        for waiter in self._queue:
            size += len(waiter.data) + ENTRY_OVERHEAD_BYTES
            if number and size > MAX_GROUP_BYTES:
                break
            number += 1
        needed = size + record_bytes(())
        if needed > self._room_bytes - self._unwritten_bytes:
            if not self._busy and not self._unwritten:
                self._reserve(needed)
            return
        taken = [self._queue[place] for place in range(number)]
        try:
            first = self._raft.propose([waiter.data for waiter in taken])
        except NotLeader:
            return  # it is being handed over: they wait for what comes of it
        for index, waiter in enumerate(taken, first):
            waiter.term = self._raft.term
            self._logged[index] = self._queue.popleft()

    def _do(self, ready: Ready, nursery: trio.Nursery) -> None:
        """What one Ready asks for, but for the write, which waits for its turn."""
        for message in ready.messages:
            self.outboxes.send(message)
        if ready.must_write or ready.messages_after:
            self._unwritten.append(ready)
            self._unwritten_bytes += record_bytes(ready.entries)
        if ready.snapshot is not None:
            self._store.restore(self._received[ready.snapshot.index].data)
            self._snapshotting.restored(ready.snapshot.index)
        for entry in ready.committed:
            self._apply(entry)
        for request, index in ready.reads:
            self._reads_due.append((index, request))
        self._answer_reads()
        for member in ready.snapshots_wanted:
            nursery.start_soon(self._send_snapshot, member)

    def _apply(self, entry: Entry) -> None:
        self._snapshotting.applied(len(entry.data))
        waiter = self._logged.pop(entry.index, None)
        if waiter is not None and waiter.term != entry.term:
            waiter.resolve(Unavailable(LOST))
            waiter = None
        if entry.kind is EntryKind.MEMBERSHIP:
            self._note_change()
            if waiter is not None:
                waiter.resolve(None)
            return
        if not entry.data:
            if entry.term == self._raft.term and self._raft.role is Role.LEADER:
                self._leads = True
                self._note_change()
            return
        changes = waiter.changes if waiter else decode_changes(entry.data)
        outcome: Batch | ClusterError
        try:
            outcome = self._store.apply(entry.index, changes)
        except ClusterError as error:
            outcome = error
        if waiter is not None:
            waiter.resolve(outcome)

    def _answer_reads(self) -> None:
        waiting = []
        for index, request in self._reads_due:
            if index > self.applied:
                waiting.append((index, request))
            elif (event := self._reads.pop(request, None)) is not None:
                event.set()
        self._reads_due = waiting

    def _watch_role(self) -> None:
        """Tell who waits when the leadership is gone, and everybody when leader or membership changed."""
        now = (self._raft.role is Role.LEADER, self._raft.leader, self._raft.removed)
        if now == self._seen:
            return
        self._seen = now
        if self._leads and self._raft.role is not Role.LEADER:
            self._leads = False
            self._lose(Unavailable(LOST), NotLeader(self.leader_address))
        self._note_change()

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # -- the disk

    def _reserve(self, size_bytes: int) -> None:
        full: list[LogFull] = []

        def reserve() -> None:
            try:
                self._wal.reserve(size_bytes)
            except LogFull as error:
                full.append(error)

        def reserved() -> None:
            if full:
                _log.error("refusing proposals: %s", full[0])
                self._refuse_queued(Unavailable(str(full[0])))
            self._released_log()

        self._busy = True
        self._writer.submit(reserve, reserved)

    def _write(self) -> None:
        """Hand the thread what waits to be written, as one record; a leader's snapshot goes first and alone."""
        if self._busy or not self._unwritten:
            return
        group = [self._unwritten.popleft()]
        size = record_bytes(group[0].entries)
        while self._unwritten and self._unwritten[0].snapshot is None:
            size += record_bytes(self._unwritten[0].entries)
            if size > MAX_GROUP_BYTES:
                break
            group.append(self._unwritten.popleft())
        if not any(ready.must_write for ready in group):
            self._wrote(group)  # messages that waited for the writes before them only
            self._wake.set()
            return
        last = group[-1]
        snapshot = self._received.pop(group[0].snapshot.index) if group[0].snapshot else None
        entries = tuple(entry for ready in group for entry in ready.entries)
        restored = snapshot.index if snapshot else 0
        states = [ready.hard_state for ready in group if ready.hard_state is not None]
        if states:
            self._state = states[-1]
        record = Record(self._state.term, self._state.vote, last.commit, entries, restored)

        def write() -> None:
            if snapshot is not None:
                self._snapshotting.save(snapshot)
            self._wal.append(record)

        def written() -> None:
            self._wrote(group)
            self._released_log()

        self._busy = True
        self._writer.submit(write, written)

    def _wrote(self, group: Sequence[Ready]) -> None:
        self._raft.persisted(group[-1].number)
        for ready in group:
            self._unwritten_bytes -= record_bytes(ready.entries)
            for message in ready.messages_after:
                self.outboxes.send(message)

    def _released_log(self) -> None:
        self._busy = False
        self._room_bytes = self._wal.room_bytes
        self._wake.set()

    async def _save(self, snapshot: Snapshot) -> None:
        """Make a snapshot durable, then forget the log that it replaces."""
        forget = await self._snapshotting.write(snapshot)
        if forget is not None:
            self._raft.log.compact(forget)
            self._writer.submit(lambda: self._wal.release(snapshot.index), _nothing)
        self._wake.set()

    async def _send_snapshot(self, member: int) -> None:
        snapshot = await self._snapshotting.load()
        sent = False
        if snapshot is not None and snapshot.membership is not None and self._raft.role is Role.LEADER:
            packed = await trio.to_thread.run_sync(snapshots.pack, snapshot)
            if self._raft.role is Role.LEADER:
                point = SnapshotPoint(snapshot.index, snapshot.term, snapshot.membership)
                sent = self.outboxes.send_snapshot(self._raft.snapshot_message(member, point), packed)
        if not sent:
            self.snapshot_sent(member, None)

    # -- the end

    def _refuse_queued(self, error: ClusterError) -> None:
        while self._queue:
            self._queue.popleft().resolve(error)

    def _lose(self, logged: ClusterError, queued: ClusterError) -> None:
        self._refuse_queued(queued)
        for waiter in self._logged.values():
            waiter.resolve(logged)
        self._logged.clear()
        self._reads_due.clear()
        for event in self._reads.values():
            event.set()  # still in the table: they see that they were not answered

    def stop(self) -> None:
        """Tell all who wait. `open_driver` calls it."""
        self._stopped = True
        self._lose(Unavailable(f"{STOPPING}; whether the change was made is not known"), Unavailable(STOPPING))
        self._note_change()
        self._writer.stop()

    async def run_writer(self) -> None:
        await self._writer.run()


def _nothing() -> None:
    """Nobody waits for this job."""


def _recover(path: Path, wal: Wal, snapshot: Snapshot | None, raft_id: int, rng: Random) -> Raft:
    """The member as it was, from its snapshot and its log. Raises Damaged when entries between the two are missing."""
    offset, offset_term = (snapshot.index, snapshot.term) if snapshot else (0, 0)
    recovered = wal.recovered
    entries = tuple(entry for entry in recovered.entries if entry.index > offset)
    replaced = next((entry for entry in recovered.entries if entry.index == offset), None)
    if replaced is not None and replaced.term != offset_term:
        entries = ()  # a leader's snapshot, whose record in the log was not written any more
    if entries and entries[0].index != offset + 1:
        raise Damaged(str(path), f"the log starts at entry {entries[0].index}, the snapshot ends at {offset}")
    founded = of_voters(FOUNDER) if raft_id == FOUNDER else Membership()
    base = snapshot.membership if snapshot and snapshot.membership else founded
    log = Log(entries, offset, offset_term, recovered.commit, base)
    config = Config(raft_id, ELECTION_TICKS, HEARTBEAT_TICKS)
    return Raft(config, HardState(recovered.term, recovered.vote), log, rng)


@asynccontextmanager
async def open_driver(raft_dir: Path, store: Store, *, raft_id: int = FOUNDER) -> AsyncIterator[Driver]:
    """Run the member whose log is in `raft_dir` (made when it is not there) and bring `store`, which must be empty,
    up to it.

    A founder that is alone leads soon after (`Driver.wait_leader`); a member with another id waits for its leader.
    Raises InUse, Damaged or StorageFault, Unavailable when the disk is full; while it runs, a failing disk ends the
    block with an exception group that holds the StorageFault. Leaving the block stops the member.
    """
    assert store.index == 0, "the store must be empty"
    with directory.locked(raft_dir):
        try:
            data_key = key.data_key(raft_dir)
            snapshot = snapshots.latest(raft_dir, data_key)
            wal = Wal(raft_dir, data_key)
        except LogFull as error:
            raise Unavailable(str(error)) from error
        try:
            if snapshot is not None:
                store.restore(snapshot.data)
            raft = _recover(raft_dir, wal, snapshot, raft_id, SystemRandom())
            snapshotting = Snapshotting(raft_dir, data_key, store, raft.log.offset)
            driver = Driver(store, raft, wal, snapshotting, Outboxes())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(driver.run_writer)
                nursery.start_soon(driver.run)
                try:
                    yield driver
                finally:
                    driver.stop()
                    nursery.cancel_scope.cancel()
        finally:
            wal.close()
