"""The shell around one Raft member: its log on disk, its time, those who propose, and the other members. The door to
manager/raft.

Decides nothing: manager/raft/member.py does. Performs the member's effects in their order; the disk is a thread's (disk_work.py), and
what it has done comes back as an event.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import SystemRandom
from time import perf_counter
from typing import Final

import trio

from cluster.metrics import Histogram
from cluster.model.changes import Change
from cluster.model.errors import ClusterError, Unavailable
from manager.raft.core import Raft
from manager.raft.disk_work import DiskWork
from manager.raft.effects import Answer, Changed, Effect, Release, Reserve, Resolve, Save, Send, SendSnapshot, Write
from manager.raft.member import MAX_ENTRY_BYTES, SETTLED_AT_ONCE, STOPPING, RaftMember, prepare
from manager.raft.membership import Member, Membership
from manager.raft.messages import Message
from manager.raft.outboxes import Outboxes
from manager.raft.ready import NOBODY, Config
from manager.raft.recovery import ELECTION_TICKS, FOUNDER, HEARTBEAT_TICKS, TICK_S, alone, founded, overtaken, recover, with_record
from manager.raft_storage import directory, key, snapshots
from manager.raft_storage.faults import LogFull, StorageFault
from manager.raft_storage.key import DataKeys
from manager.raft_storage.snapshots import Snapshot
from manager.raft_storage.wal import Wal
from manager.store import Batch, Store

__all__ = ["FOUNDER", "MAX_ENTRY_BYTES", "Driver", "open_driver"]

MAX_PROPOSALS: Final = 4096
"""Proposals under way; further proposers wait."""

_log: Final = logging.getLogger("festoon.raft")


Answered = Callable[[Sequence[Answer]], None]
"""Takes what came at once of what was asked for, in the event loop: must not raise, and must not call the driver."""


class _Asker:
    """Who waits for answers to one or many things that were asked for at once."""

    __slots__ = ("answered", "answers", "began_s")

    def __init__(self, answered: Answered) -> None:
        self.answered = answered
        self.answers: list[Answer] = []  # that have come and were not handed over yet
        self.began_s = perf_counter()


class Driver:
    """A running member. Made by `open_driver`, whose nursery runs what takes its time."""

    def __init__(self, member: RaftMember, disk: DiskWork, nursery: trio.Nursery) -> None:
        self.outboxes = Outboxes()
        self.transaction_times = Histogram()  # of proposals that were made, from the call to the answer
        self._member = member
        self._disk = disk
        self._nursery = nursery
        self._wake = trio.Event()
        self._changed = trio.Event()
        self._capacity = trio.Semaphore(MAX_PROPOSALS)
        self._waiting: dict[int, _Asker] = {}  # by ticket

    # -- what is known

    @property
    def leader(self) -> bool:
        """Whether this member leads and its store holds all that was ever acknowledged."""
        return self._member.leads

    @property
    def removed(self) -> bool:
        """Whether this member was taken out of the group, for ever."""
        return self._member.raft.removed

    @property
    def went_back(self) -> bool:
        """Whether this member was told that it had held more than its log holds: it takes no part any more."""
        return self._member.raft.went_back

    @property
    def raft_id(self) -> int:
        return self._member.raft.config.id

    @property
    def term(self) -> int:
        return self._member.raft.term

    @property
    def applied(self) -> int:
        """Index of the last entry that the store has seen."""
        return self._member.applied

    @property
    def membership(self) -> Membership:
        """The latest that is in the log, committed or not."""
        return self._member.membership

    @property
    def settled_membership(self) -> Membership:
        """The latest that is known to be committed."""
        log = self._member.raft.log
        return log.memberships.at(log.committed)

    @property
    def raft(self) -> Raft:
        """For looking only."""
        return self._member.raft

    @property
    def write_times_ns(self) -> Sequence[int]:
        """How long the latest writes to the log took, each with its fdatasync."""
        return self._disk.write_times_ns

    @property
    def snapshot_times(self) -> Histogram:
        """Of snapshots of its own that reached the disk."""
        return self._disk.snapshot_times

    @property
    def keys(self) -> DataKeys:
        """What the log and the snapshots are sealed under."""
        return self._disk.keys

    def snapshot_now(self) -> Snapshot:
        """The store as it is, with what it takes to go on from there."""
        return self._member.snapshot_now()

    def disk_usage(self) -> directory.Usage:
        """What is on disk now. Raises OSError."""
        return self._disk.usage()

    @property
    def leader_address(self) -> str:
        """host:port of the member that leads, empty when none is known."""
        return self._member.leader_address

    async def wait_leader(self) -> None:
        """Wait until `leader` is true. Raises Unavailable when the driver stops. Cancelling it does no harm."""
        while not self._member.leads and not self._member.stopped:
            await self._changed.wait()
        if self._member.stopped:
            raise Unavailable(STOPPING)

    async def wait_change(self) -> None:
        """Wait until something of leadership, membership or removal changes, or a learner has caught up."""
        await self._changed.wait()

    # -- what is asked for

    async def propose(self, changes: tuple[Change, ...]) -> Batch:
        """Have the changes committed and applied, all or none; what came of it, once it is durable.

        Raises NotLeader (with the leader's address where it is known); Unavailable (no room on disk, stopping, the
        leadership lost meanwhile); InvalidArgument (too large); or what Store.apply raised. A cancelled call may still
        be committed.
        """
        proposal = prepare(changes)
        try:
            self._capacity.acquire_nowait()  # waiting for it is a switch of tasks even where there is room
        except trio.WouldBlock:
            await self._capacity.acquire()
        try:
            batch = await self._answer(self._member.propose(proposal))
        finally:
            self._capacity.release()
        assert batch is not None
        return batch

    def submit(self, group: Sequence[tuple[Change, ...]], answered: Answered) -> None:
        """As `propose` for each of the group, for who has no task for each: `answered` gets the batches or ClusterErrors, in the order of the group, as
        they come. Raises at once what can be said at once, and nothing is proposed then: also Unavailable when MAX_PROPOSALS are under way.
        """
        proposals = [prepare(changes) for changes in group]
        if len(self._waiting) + len(proposals) > MAX_PROPOSALS:
            raise Unavailable(f"{MAX_PROPOSALS} changes are under way: try again")
        self._member.check_leads()
        asker = _Asker(answered)
        for proposal in proposals:
            self._waiting[self._member.propose(proposal)] = asker
        self._begin_now()

    async def change_membership(self, change: Callable[[Membership], Membership]) -> Membership:
        """Have the membership that `change` makes of the latest one committed. Raises NotLeader, Unavailable,
        FailedPrecondition (core.propose_membership), and what `change` raises. Cancelled, it may still happen.
        """
        self._member.check_leads()
        new = change(self.membership)
        if new != self.membership:
            await self._answer(self._member.change_membership(new))
        return new

    async def wait_read(self) -> None:
        """Return when the store holds all that was acknowledged before the call. Raises NotLeader, Unavailable."""
        ticket = self._member.read()
        if ticket is not None:
            await self._answer(ticket)

    async def hand_over(self, to: int = NOBODY) -> bool:
        """Give the leadership to another voter; whether that was done in time. Raises NotLeader."""
        if self._member.transfer(to) == NOBODY:
            return False
        self._wake.set()
        with trio.move_on_after(ELECTION_TICKS * TICK_S):
            while self._member.leads:
                await self._changed.wait()
        return not self._member.leads

    def has_caught_up(self, member: int) -> bool:
        """Whether a learner may be given its vote; False also where this member does not lead."""
        return self._member.has_caught_up(member)

    async def use_keys(self, keys: DataKeys) -> None:
        """Seal all that is written from here on under the current one of these, which are in the key file already, the
        present one among them. Raises Unavailable when there is no room; it may be called again then.
        """
        await self._disk.use_keys(keys)

    async def replace_older(self) -> bool:
        """Save the store and forget the log before it, so that nothing is sealed under older keys any more; whether that is so
        now. What is not committed yet cannot be forgotten.
        """
        released = self._disk.released
        self._member.ask_snapshot()
        self._wake.set()
        await released.wait()
        return not self._disk.uses_older_key

    def receive(self, messages: Sequence[Message], snapshot: Snapshot | None = None) -> None:
        """Messages of another member came in; `snapshot` is what a SNAPSHOT, the only one then, speaks of."""
        self._member.receive(messages, snapshot)
        self._go_on()

    def held_by(self, member: int) -> Message | None:
        """What a member that comes back is to be told first."""
        return self._member.raft.held_by(member)

    def lost(self, member: int) -> None:
        """The connection to this member broke: its process may have died."""
        self._member.lost(member)
        self._wake.set()

    def snapshot_sent(self, member: int, index: int | None) -> None:
        """The contents of a snapshot have left for the member (None: they could not)."""
        self._member.snapshot_sent(member, index)

    async def _answer(self, ticket: int) -> Batch | None:
        """Raises the ClusterError that is the answer."""
        done = trio.Event()
        answer: Answer = None

        def answered(answers: Sequence[Answer]) -> None:
            nonlocal answer
            (answer,) = answers
            done.set()

        self._waiting[ticket] = _Asker(answered)
        self._begin_now()
        try:
            await done.wait()
        finally:
            self._waiting.pop(ticket, None)
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    def _begin_now(self) -> None:
        """Go on with what was asked for just now: at once, or behind the write that is under way, together with all that comes meanwhile."""
        if self._member.is_writing:
            self._wake.set()
        else:
            self._go_on()

    # -- the loop

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do what there is to do, whenever something happened. Runs until cancelled; `open_driver` calls it. The store
        holds what was known to be committed before when this reports.
        """
        self._member.start()
        self._go_on()
        self._member.settle()
        self._perform()
        task_status.started()
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self._go_on()

    def _go_on(self, *, disk_done: bool = False) -> None:
        self._member.advance()
        self._perform()
        if disk_done or not self._member.may_settle_later:
            self._member.settle(SETTLED_AT_ONCE)
            self._perform()
            if not (self._member.is_settled or self._member.may_settle_later):
                self._wake.set()

    async def run_clock(self) -> None:
        """Time, for members that have others. `open_driver` calls it."""
        while True:
            while self._member.alone:
                await self._changed.wait()
            await trio.sleep(TICK_S)
            if self._member.tick():
                self._wake.set()

    def _perform(self) -> None:
        for effect in self._member.take_effects():
            if isinstance(effect, Send):
                self.outboxes.send(effect.message)
            elif isinstance(effect, Resolve):
                self._resolve(effect.answers)
            else:
                self._begin(effect)
        self.outboxes.flush()

    def _resolve(self, answers: Sequence[tuple[int, Answer]]) -> None:
        now_s, waiting, times = perf_counter(), self._waiting, self.transaction_times
        askers: list[_Asker] = []
        for ticket, answer in answers:
            if (asker := waiting.pop(ticket, None)) is None:
                continue
            if type(answer) is Batch:
                times.observe(now_s - asker.began_s)
            if not asker.answers:
                askers.append(asker)
            asker.answers.append(answer)
        for asker in askers:
            came, asker.answers = asker.answers, []
            asker.answered(came)

    def _begin(self, effect: Effect) -> None:
        """What is rare, or takes its time."""
        match effect:
            case Write():
                self.outboxes.flush()  # the others begin before the writer's thread wants the interpreter
                self._disk.write(effect, self._written)
            case Reserve():
                self._disk.reserve(effect.size_bytes, self._reserved)
            case Save():
                self._nursery.start_soon(self._save, effect)
            case Release():
                self._disk.release(effect.up_to)
            case SendSnapshot():
                self._nursery.start_soon(self._send_snapshot, effect.member)
            case Changed():
                self._changed.set()
                self._changed = trio.Event()

    # -- what the disk has done

    def _written(self) -> None:
        self._member.wrote(self._disk.room_bytes)
        self._go_on(disk_done=True)

    def _reserved(self, full: LogFull | None) -> None:
        self._member.reserved(self._disk.room_bytes, full)
        self._go_on(disk_done=True)

    async def _save(self, effect: Save) -> None:
        self._member.saved(effect.snapshot, await self._disk.save(effect))
        self._wake.set()

    async def _send_snapshot(self, member: int) -> None:
        sent = False
        if (latest := await self._disk.latest_snapshot()) is not None:
            snapshot, packed = latest
            message = self._member.snapshot_message(member, snapshot)
            sent = message is not None and self.outboxes.send_snapshot(message, packed)
        if not sent:
            self.snapshot_sent(member, None)

    # -- the end

    def stop(self) -> None:
        """Tell all who wait. `open_driver` calls it."""
        self._member.stop()
        self._perform()
        self._disk.stop()

    async def run_disk(self) -> None:
        """Runs until `stop`. Raises StorageFault when the disk fails: nothing is written any more, hence nothing acknowledged; a leader hands over before,
        for which it needs no disk."""
        try:
            await self._disk.run()
        except StorageFault as fault:
            _log.error("the disk fails: this member ends", extra={"fields": {"error": str(fault)}})
            with suppress(ClusterError):
                handed = self._member.leads and await self.hand_over()
                _log.info("handed over" if handed else "nobody took over", extra={"fields": {"leader": self.leader_address}})
            raise


@asynccontextmanager
async def open_driver(
    raft_dir: Path, store: Store, *, raft_id: int = FOUNDER, only: Member | None = None, unlocking: bytes | None = None
) -> AsyncIterator[Driver]:
    """Run the member whose log is in `raft_dir` (made when it is not there) and bring `store`, which must be empty,
    up to it.

    `only` is this member, which is to be the only one of its group from now on, whoever was of it before.
    A founder that is alone leads soon after (`Driver.wait_leader`); a member with another id waits for its leader.
    `unlocking`: the swarm's unlock key, where one is needed. Raises FailedPrecondition (it is needed), InvalidArgument (it
    is another one), InUse, Damaged or StorageFault, Unavailable when the disk is full; while it runs, a failing disk ends the
    block with an exception group that holds the StorageFault. Leaving the block stops the member.
    """
    assert store.index == 0, "the store must be empty"
    with directory.locked(raft_dir):
        try:
            keys = key.open_keys(raft_dir, unlocking)
            wal, member = _opened(raft_dir, store, keys, raft_id, only)
        except LogFull as error:
            raise Unavailable(str(error)) from error
        try:
            async with trio.open_nursery() as nursery:
                driver = Driver(member, DiskWork(wal, raft_dir, keys), nursery)
                nursery.start_soon(driver.run_disk)
                await nursery.start(driver.run)
                nursery.start_soon(driver.run_clock)
                try:
                    yield driver
                finally:
                    driver.stop()
                    nursery.cancel_scope.cancel()
        finally:
            wal.close()


def _opened(raft_dir: Path, store: Store, keys: DataKeys, raft_id: int, only: Member | None) -> tuple[Wal, RaftMember]:
    """The log, and the member as the disk has it. What was read of the disk is as large as the store, and is gone when this returns."""
    snapshot = snapshots.latest(raft_dir, keys.current, older=keys.older)
    wal = Wal(raft_dir, keys.current, older=keys.older)
    try:
        if snapshot is not None:
            store.restore(snapshot.data)
        recovered = wal.recovered
        if (record := overtaken(recovered, snapshot)) is not None:
            wal.append(record)
            recovered = with_record(recovered, record)
        hard_state, log = recover(str(raft_dir), recovered, snapshot, founded(raft_id))
        if only is not None:
            record = alone(recovered, log, only)
            wal.append(record)
            hard_state, log = recover(str(raft_dir), with_record(recovered, record), snapshot, founded(raft_id))
        wal.forget_recovered()
    except BaseException:
        wal.close()
        raise
    return wal, RaftMember(store, Raft(Config(raft_id, ELECTION_TICKS, HEARTBEAT_TICKS), hard_state, log, SystemRandom()), wal.room_bytes)
