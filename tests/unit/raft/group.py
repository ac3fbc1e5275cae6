"""Members in memory for scripts: nothing is sent or written but by the script."""

from __future__ import annotations

from random import Random

from manager.raft.core import Raft, Role
from manager.raft.log import Entry, Log
from manager.raft.membership import of_voters
from manager.raft.messages import Message
from manager.raft.ready import Config, HardState, SnapshotPoint

MEMBERS = (1, 2, 3)


class Group:
    """Members, the messages between them, and a disk each that is as fast as the script says."""

    def __init__(self, logs: dict[int, tuple[HardState, Log]] | None = None, members: tuple[int, ...] = MEMBERS) -> None:
        logs = logs or {}
        self.rafts = {
            member: Raft(Config(member), *logs.get(member, (HardState(), empty(*members))), Random(member))
            for member in members
        }
        self.applied: dict[int, list[bytes]] = {member: [] for member in members}
        self.reads: list[tuple[int, int]] = []
        self.snapshots: list[SnapshotPoint] = []
        self.cut: set[tuple[int, int]] = set()
        self.wire: list[Message] = []

    def pump(self, member: int) -> None:
        """Do all that the member's Readys ask for."""
        raft = self.rafts[member]
        while (ready := raft.ready()) is not None:
            self.wire += ready.messages
            raft.persisted(ready.number)
            self.wire += ready.messages_after
            if ready.snapshot is not None:
                self.snapshots.append(ready.snapshot)
                self.applied[member] = [b"snapshot to %d" % ready.snapshot.index]
            self.applied[member] += [entry.data for entry in ready.committed if entry.data and not entry.kind]
            self.reads += ready.reads
            for wanting in ready.snapshots_wanted:
                self.send_snapshot(raft, wanting)

    def send_snapshot(self, leader: Raft, to: int) -> None:
        """As the shell does: of what is applied now."""
        index = leader.log.applied
        point = SnapshotPoint(index, leader.log.term(index) or 0, leader.log.memberships.at(index))
        arrives = (leader.config.id, to) not in self.cut
        if arrives:
            self.wire.append(leader.snapshot_message(to, point))
        leader.snapshot_ended(to, index if arrives else None)

    def join(self, node_id: str) -> int:
        """A new, empty learner; its id."""
        leader = self.leader()
        new = leader.membership.with_learner(node_id, f"{node_id}:2377")
        self.rafts[new.last_id] = Raft(Config(new.last_id), HardState(), Log(), Random(new.last_id))
        self.applied[new.last_id] = []
        leader.propose_membership(new)
        return new.last_id

    def leader(self) -> Raft:
        return max((raft for raft in self.rafts.values() if raft.role is Role.LEADER), key=lambda raft: raft.term)

    def run(self) -> None:
        """Deliver until all is quiet."""
        for member in self.rafts:
            self.pump(member)
        while self.wire:
            message = self.wire.pop(0)
            if (message.sender, message.to) in self.cut:
                continue
            self.rafts[message.to].step(message)
            self.pump(message.to)

    def tell(self) -> None:
        """Let the leader's next tick tell the others what is committed."""
        self.tick(self.leader().config.id)
        self.run()

    def elect(self, member: int) -> Raft:
        self.rafts[member].campaign()
        self.run()
        assert self.rafts[member].role is Role.LEADER
        return self.rafts[member]

    def tick(self, member: int, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.rafts[member].tick()

    def isolate(self, member: int) -> None:
        self.cut |= {(member, other) for other in self.rafts} | {(other, member) for other in self.rafts}

    def heal(self) -> None:
        self.cut.clear()


def empty(*members: int) -> Log:
    return Log(base=of_voters(*members))


def log_of(*terms: int, members: tuple[int, ...] = MEMBERS) -> Log:
    """A log whose entries have these terms, from index 1."""
    return Log([Entry(index, term, b"x%d" % index) for index, term in enumerate(terms, 1)], base=of_voters(*members))
