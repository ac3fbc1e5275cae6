"""The shell around the Raft core of one member: its log on disk, its store, and those who propose. Owns the loop that
moves entries from one to the other.

Decides nothing: manager/raft/core.py does. One write is in flight at a time; all that is proposed meanwhile becomes
the next one (group commit). An entry is applied to the store when it is committed, and its proposer gets what came of
it. Room on disk is reserved before an entry enters the log, so a full disk refuses proposals and leaves nothing
undecided.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

import trio

from cluster.model.changes import Change, Kind
from cluster.model.errors import ClusterError, InvalidArgument, NotLeader, Unavailable
from cluster.model.specs import ClusterSpec
from cluster.wire.codec import decode_changes, encode_changes
from manager.raft.core import Raft, Role
from manager.raft.log import Entry, Log
from manager.raft.membership import of_voters
from manager.raft.ready import Config, HardState, Ready
from manager.raft_storage import directory, key, snapshots
from manager.raft_storage.faults import Damaged, LogFull
from manager.raft_storage.snapshots import Snapshot
from manager.raft_storage.wal import ENTRY_OVERHEAD_BYTES, Record, Wal, record_bytes
from manager.raft_storage.writer import Writer
from manager.store import Batch, Store

MAX_ENTRY_BYTES: Final = 1536 * 1024
"""Longest entry, as in SwarmKit."""

MAX_GROUP_BYTES: Final = 4 * 1024 * 1024
"""Data of the proposals that become one write."""

MAX_PROPOSALS: Final = 4096
"""Proposals under way; further proposers wait."""

SNAPSHOT_LOG_BYTES: Final = 256 * 1024 * 1024
"""A snapshot is due when this much has been logged since the last one, however few the entries."""

_log: Final = logging.getLogger("festoon.raft")


class _Proposal:
    """One caller of `propose`, from queue to answer."""

    __slots__ = ("changes", "data", "done", "outcome")

    def __init__(self, changes: tuple[Change, ...], data: bytes) -> None:
        self.changes = changes
        self.data = data
        self.done = trio.Event()
        self.outcome: Batch | ClusterError | None = None

    def resolve(self, outcome: Batch | ClusterError) -> None:
        self.outcome = outcome
        self.done.set()


class Driver:
    """A running member. Made by `open_driver`."""

    def __init__(self, path: Path, data_key: bytes, store: Store, raft: Raft, wal: Wal, snapshot_index: int) -> None:
        self._path = path
        self._key = data_key
        self._store = store
        self._raft = raft
        self._wal = wal
        self._writer = Writer()
        self._wake = trio.Event()
        self._queue: deque[_Proposal] = deque()
        self._capacity = trio.Semaphore(MAX_PROPOSALS)
        self._logged: dict[int, _Proposal] = {}  # by index of their entry
        self._busy = False  # the writer thread has the log
        self._written = 0  # number of the last Ready that is durable
        self._leads = trio.Event()
        self._stopped = False
        self._snapshot_index = snapshot_index
        self._bytes_since_snapshot = 0
        self._snapshot: Snapshot | None = None  # being written

    @property
    def leader(self) -> bool:
        """Whether this member leads and its store holds all that was ever acknowledged."""
        return self._leads.is_set() and not self._stopped

    @property
    def term(self) -> int:
        return self._raft.term

    @property
    def applied(self) -> int:
        """Index of the last entry that the store has seen."""
        return self._raft.log.applied

    async def wait_leader(self) -> None:
        """Wait until `leader` is true. Raises Unavailable when the driver stops. Cancelling it does no harm."""
        await self._leads.wait()
        if self._stopped:
            raise Unavailable("the manager is stopping")

    async def propose(self, changes: tuple[Change, ...]) -> Batch:
        """Have the changes committed and applied, all or none; what came of it, once it is durable.

        Raises NotLeader; Unavailable (no room on disk, stopping: nothing was logged unless the manager dies
        meanwhile); InvalidArgument (too large); or what Store.apply raised. A cancelled call may still be committed.
        """
        data = encode_changes(changes)
        if len(data) > MAX_ENTRY_BYTES:
            raise InvalidArgument(f"the change takes {len(data)} bytes in the log; the limit is {MAX_ENTRY_BYTES}")
        checked = decode_changes(data)  # what cannot be read back must never enter the log
        async with self._capacity:
            if self._stopped:
                raise Unavailable("the manager is stopping")
            if not self.leader:
                raise NotLeader("")
            proposal = _Proposal(checked, data)
            self._queue.append(proposal)
            self._wake.set()
            await proposal.done.wait()
        if isinstance(proposal.outcome, Batch):
            return proposal.outcome
        assert proposal.outcome is not None
        raise proposal.outcome

    # -- the loop

    async def _run(self) -> None:
        """Do what there is to do, whenever something happened. Runs until cancelled."""
        async with trio.open_nursery() as nursery:
            self._raft.start()
            while True:
                self._advance()
                if self._snapshot is None and self._snapshot_is_due():
                    self._snapshot = self._make_snapshot()
                    nursery.start_soon(self._write_snapshot, self._snapshot)
                await self._wake.wait()
                self._wake = trio.Event()

    def _advance(self) -> None:
        """One round: take what is proposed, hand the next write to the thread, and apply while the disk works."""
        if self._busy:
            return
        if self._written:
            self._raft.persisted(self._written)
        if not self._take_proposals():
            return
        ready = self._raft.ready()
        if ready is None:
            return
        talk = ready.messages or ready.messages_after
        assert not talk, "a member that is alone has nobody to talk to"
        if ready.must_write:
            self._write(ready)
        for entry in ready.committed:
            self._apply(entry)

    def _take_proposals(self) -> bool:
        """Put what is queued into the log; False when room has to be made first."""
        if not self._queue:
            return True
        size = count = 0
        for proposal in self._queue:
            size += len(proposal.data) + ENTRY_OVERHEAD_BYTES
            if count and size > MAX_GROUP_BYTES:
                break
            count += 1
        if size + record_bytes(()) > self._wal.room_bytes:
            self._reserve(size + record_bytes(()))
            return False
        taken = [self._queue.popleft() for _ in range(count)]
        first = self._raft.propose([proposal.data for proposal in taken])
        self._logged.update(enumerate(taken, first))
        return True

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
                self._refuse_queued(str(full[0]))
            self._released_log()

        self._busy = True
        self._writer.submit(reserve, reserved)

    def _write(self, ready: Ready) -> None:
        record = Record(self._raft.term, self._raft.vote, ready.commit, ready.entries)

        def written() -> None:
            self._written = ready.number
            self._released_log()

        self._busy = True
        self._writer.submit(lambda: self._wal.append(record), written)

    def _released_log(self) -> None:
        self._busy = False
        self._wake.set()

    def _apply(self, entry: Entry) -> None:
        self._bytes_since_snapshot += len(entry.data)
        if not entry.data:
            if entry.term == self._raft.term and self._raft.role is Role.LEADER:
                self._leads.set()
            return
        proposal = self._logged.pop(entry.index, None)
        changes = proposal.changes if proposal else decode_changes(entry.data)
        outcome: Batch | ClusterError
        try:
            outcome = self._store.apply(entry.index, changes)
        except ClusterError as error:
            outcome = error
        if proposal:
            proposal.resolve(outcome)

    # -- snapshots

    def _spec(self) -> ClusterSpec:
        clusters = self._store.all(Kind.CLUSTER)
        return clusters[0].spec if clusters else ClusterSpec()

    def _snapshot_is_due(self) -> bool:
        entries = self.applied - self._snapshot_index
        return entries >= self._spec().snapshot_interval or self._bytes_since_snapshot >= SNAPSHOT_LOG_BYTES

    def _make_snapshot(self) -> Snapshot:
        index = self._snapshot_index = self.applied
        self._bytes_since_snapshot = 0
        term = self._raft.log.term(index)
        assert term is not None
        return Snapshot(index, term, self._store.save())

    async def _write_snapshot(self, snapshot: Snapshot) -> None:
        """Make the snapshot durable, then forget the log that it replaces. Without room for it the log just stays."""
        spec = self._spec()
        try:
            await trio.to_thread.run_sync(snapshots.save, self._path, self._key, snapshot, spec.keep_old_snapshots)
        except LogFull as error:
            _log.warning("no snapshot at entry %d: %s", snapshot.index, error)
        else:
            self._raft.log.compact(snapshot.index - spec.log_entries_for_slow_followers)
            self._writer.submit(lambda: self._wal.release(snapshot.index), _nothing)
        self._snapshot = None

    # -- the end

    def _refuse_queued(self, message: str) -> None:
        while self._queue:
            self._queue.popleft().resolve(Unavailable(message))

    def _stop(self) -> None:
        self._stopped = True
        self._leads.set()
        self._refuse_queued("the manager is stopping")
        for proposal in self._logged.values():
            proposal.resolve(Unavailable("the manager is stopping; whether the change was made is not known"))
        self._logged.clear()
        self._writer.stop()


def _nothing() -> None:
    """Nobody waits for this job."""


def _recover(path: Path, wal: Wal, snapshot: Snapshot | None, raft_id: int, rng: Random) -> Raft:
    """The member as it was, from its snapshot and its log. Raises Damaged when entries between the two are missing."""
    offset, offset_term = (snapshot.index, snapshot.term) if snapshot else (0, 0)
    recovered = wal.recovered
    entries = tuple(entry for entry in recovered.entries if entry.index > offset)
    if entries and entries[0].index != offset + 1:
        raise Damaged(str(path), f"the log starts at entry {entries[0].index}, the snapshot ends at {offset}")
    log = Log(entries, offset, offset_term, recovered.commit, of_voters(raft_id))
    return Raft(Config(raft_id), HardState(recovered.term, recovered.vote), log, rng)


@asynccontextmanager
async def open_driver(raft_dir: Path, store: Store, *, raft_id: int = 1) -> AsyncIterator[Driver]:
    """Run the member whose log is in `raft_dir` (made when it is not there) and bring `store`, which must be empty,
    up to it.

    The driver leads soon after (`Driver.wait_leader`). Raises InUse, Damaged or StorageFault, Unavailable when the
    disk is full; while it runs, a failing disk ends the block with an exception group that holds the StorageFault.
    Leaving the block stops the member.
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
            driver = Driver(raft_dir, data_key, store, raft, wal, raft.log.offset)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(driver._writer.run)
                nursery.start_soon(driver._run)
                try:
                    yield driver
                finally:
                    driver._stop()
                    nursery.cancel_scope.cancel()
        finally:
            wal.close()
