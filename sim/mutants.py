"""Mistakes that others have made, each as a small change of one of the product's parts: the world has to find them.

Owns the mistakes; corpus.py says under which faults each shows. They are subclasses here and nowhere in the product.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from cluster.model.changes import Change, Kind, Op, status_of
from cluster.model.ids import NodeId
from cluster.model.objects import TaskStatus
from manager.dispatcher.statuses import Updates
from manager.raft.core import Raft, Role
from manager.raft.effects import Write
from manager.raft.leadership import Leadership
from manager.raft.log import Log
from manager.raft.member import RaftMember
from manager.raft.membership import Membership
from manager.raft.messages import Message, MessageKind
from manager.raft.ready import NOBODY
from manager.raft.votes import majority_index
from manager.store import Batch, Event, Store
from sim.failure import BadProperty
from sim.parts import Parts


class _VoteNotPersisted(RaftMember):
    """The record on disk has the term and not the vote: after a restart the member votes again."""

    def _write(self) -> bool:
        more = super()._write()
        if self._effects and isinstance(write := self._effects[-1], Write):
            self._effects[-1] = write._replace(record=msgspec.structs.replace(write.record, vote=NOBODY))
        return more


class _CountingLeadership(Leadership):
    """Commits an entry of an old term because a majority has it (figure 8 of the paper)."""

    def commit(self) -> None:
        voters = self._log.membership.voters
        indexes = [self._log.stable if voter == self._config.id else self.progress[voter].match for voter in voters]
        index = majority_index(indexes)
        if index > self._log.committed:
            self._log.committed = index
            for member in self.progress:
                self._send_append(member)
            self._follow_membership()


class _CommitByCounting(Raft):
    def _become_leader(self) -> None:
        self._reset(self.term, self.config.id)
        self.role = Role.LEADER
        self._leadership = _CountingLeadership(self.config, self.term, self.log, self._outbox.append)


class _RemovedDisrupts(Raft):
    """No pre-vote, no lease, and nobody is told of its removal: who was removed starts elections for ever."""

    def campaign(self) -> None:
        if self.role is not Role.LEADER and self.config.id in self.log.memberships.at(self.log.committed).ids:
            self._become_candidate()

    def step(self, message: Message) -> None:
        if message.kind is MessageKind.REMOVED or message.to != self.config.id or message.sender == self.config.id:
            return
        if message.term > self.term:
            self._become_follower(message.term, message.sender if message.kind in (MessageKind.APPEND, MessageKind.HEARTBEAT) else NOBODY)
        super().step(message)


class _EagerLog(Log):
    """Hands out what is committed to be applied before it is on this member's own disk."""

    def take_committed(self):  # type: ignore[no-untyped-def]
        if self.committed <= self.applied:
            return ()
        entries = self.between(self.applied + 1, self.committed)
        self.applied = self.committed
        return entries


class _SnapshotOvertakes(Raft):
    """A snapshot may then hold what the log has not yet: after a crash there is a hole between the two."""

    def __init__(self, config, hard_state, log, rng):  # type: ignore[no-untyped-def]
        eager = _EagerLog((), log.offset, log.offset_term, log.committed, log.memberships.at(log.offset))
        eager.__dict__.update(log.__dict__)
        super().__init__(config, hard_state, eager, rng)


class _UncheckedLeadership(Leadership):
    """Takes any change of the membership at any time."""

    def propose_membership(self, new: Membership) -> int:
        self._log.append_membership(self._term, new)
        self._follow_membership()
        self._send_appends()
        return self._log.last

    def has_caught_up(self, member: int) -> bool:
        return member in self.progress


class _DoubleDemotion(Raft):
    def _become_leader(self) -> None:
        self._reset(self.term, self.config.id)
        self.role = Role.LEADER
        self._leadership = _UncheckedLeadership(self.config, self.term, self.log, self._outbox.append)


def _accept_all(store: Store, reports: Iterable[tuple[NodeId, Updates]]) -> tuple[Change, ...]:
    """Every report, in the order in which they come."""
    return tuple(status_of(task_id, status) for _, updates in reports for task_id, status in updates)


class _StatusReordered(Store):
    """The last report wins, whenever it was made."""

    def apply(self, index: int, changes: tuple[Change, ...]) -> Batch:
        batch = super().apply(index, changes)
        events = list(batch.events)
        for change in changes:
            task = self.get(Kind.TASK, change.id) if change.op is Op.STATUS else None
            if task is not None and isinstance(change.after, TaskStatus) and task.status.state != change.after.state:
                after = msgspec.structs.replace(task, status=change.after)
                self._tables.write(Kind.TASK, task.id, after)
                events.append(Event(Kind.TASK, task.id, task, after))
        told = Batch(batch.index, tuple(events))
        for watch in self._watches._open.values():
            if watch._queue and watch._queue[-1] is batch:
                watch._queue[-1] = told
        return told


MUTANTS: Final[dict[str, Parts]] = {
    "": Parts(),
    "vote-not-persisted": Parts(member=_VoteNotPersisted),
    "commit-by-counting": Parts(raft=_CommitByCounting),
    "removed-member-disrupts": Parts(raft=_RemovedDisrupts),
    "snapshot-overtakes-log": Parts(raft=_SnapshotOvertakes),
    "double-demotion": Parts(raft=_DoubleDemotion),
    "status-reordered": Parts(store=_StatusReordered, accept=_accept_all),
    "ghost-on-rejoin": Parts(keeps_id=True),
}


def parts_of(name: str) -> Parts:
    """Raises BadProperty."""
    if name not in MUTANTS:
        raise BadProperty(f"there is no mutant {name!r}")
    return MUTANTS[name]
