"""Members under a hostile network and crashes that lose what was not synced: what Raft promises holds in every run.

Each example is one seed; Hypothesis prints and keeps the one that fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from manager.raft.core import Raft, Role
from manager.raft.log import Entry, Log
from manager.raft.messages import Message
from manager.raft.ready import Config, HardState, Ready
from manager.raft_storage.wal import Record, fold


@dataclass
class Member:
    """One member: its core, its disk, and the writes that are under way to it."""

    id: int
    raft: Raft
    records: list[Record] = field(default_factory=list)
    writing: list[Ready] = field(default_factory=list)
    applied: list[Entry] = field(default_factory=list)


class World:
    """Members, wire and disks on one random number generator."""

    def __init__(self, seed: int, members: int) -> None:
        self.rng = Random(seed)
        self.ids = tuple(range(1, members + 1))
        self.members = {key: Member(key, self.core(key, HardState(), Log())) for key in self.ids}
        self.wire: list[Message] = []
        self.proposed = 0
        self.committed: dict[int, tuple[int, bytes]] = {}
        self.leaders: dict[int, int] = {}

    def core(self, id: int, hard_state: HardState, log: Log) -> Raft:
        return Raft(Config(id, self.ids, max_append_bytes=20, max_inflight_appends=3), hard_state, log, self.rng)

    def collect(self, member: Member) -> None:
        while (ready := member.raft.ready()) is not None:
            self.wire += ready.messages
            member.writing.append(ready)
            for entry in ready.committed:
                known = self.committed.setdefault(entry.index, (entry.term, entry.data))
                assert known == (entry.term, entry.data), "two members applied different entries at one index"
                assert not member.applied or entry.index == member.applied[-1].index + 1
                member.applied.append(entry)
        if member.raft.role is Role.LEADER:
            assert self.leaders.setdefault(member.raft.term, member.id) == member.id, "two leaders in one term"

    def sync(self, member: Member) -> None:
        """One write becomes durable, and what waited for it leaves."""
        if not member.writing:
            return
        ready = member.writing.pop(0)
        state = ready.hard_state or HardState(*self.state_on_disk(member))
        member.records.append(Record(state.term, state.vote, ready.commit, ready.entries))
        member.raft.persisted(ready.number)
        self.wire += ready.messages_after

    def state_on_disk(self, member: Member) -> tuple[int, int]:
        return (member.records[-1].term, member.records[-1].vote) if member.records else (0, 0)

    def crash(self, member: Member) -> None:
        """Lose all that was not synced and start again from the disk."""
        recovered = fold(member.records, "disk")
        log = Log(recovered.entries, committed=recovered.commit)
        member.raft = self.core(member.id, HardState(recovered.term, recovered.vote), log)
        member.writing.clear()
        member.applied.clear()

    def step(self) -> None:
        member = self.members[self.rng.choice(self.ids)]
        match self.rng.randrange(100):
            case n if n < 35 and self.wire:
                message = self.wire.pop(self.rng.randrange(len(self.wire)))
                if self.rng.random() < 0.15:
                    return  # lost
                if self.rng.random() < 0.1:
                    self.wire.append(message)  # will come again
                member = self.members[message.to]
                member.raft.step(message)
            case n if n < 60:
                self.sync(member)
            case n if n < 85:
                member.raft.tick()
            case n if n < 98:
                if member.raft.role is Role.LEADER:
                    self.proposed += 1
                    member.raft.propose([b"%d" % self.proposed])
            case _:
                self.crash(member)
        self.collect(member)

    def settle(self) -> None:
        """No more faults: everything is delivered and synced, time goes on."""
        for _ in range(80):
            for member in self.members.values():
                member.raft.tick()
                self.collect(member)
            for _ in range(400):
                if not self.wire and not any(member.writing for member in self.members.values()):
                    break
                for member in self.members.values():
                    while member.writing:
                        self.sync(member)
                        self.collect(member)
                if self.wire:
                    message = self.wire.pop(0)
                    self.members[message.to].raft.step(message)
                    self.collect(self.members[message.to])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3, 5]))
def test_members_agree_lose_nothing_and_go_on(seed: int, members: int) -> None:
    world = World(seed, members)
    for _ in range(1500):
        world.step()
    world.wire = world.wire[-50:]
    world.settle()
    leaders = [member for member in world.members.values() if member.raft.role is Role.LEADER]
    assert len(leaders) == 1
    leaders[0].raft.propose([b"last"])
    world.collect(leaders[0])
    world.settle()
    for member in world.members.values():
        applied = {entry.index: (entry.term, entry.data) for entry in member.applied}
        assert applied == world.committed, "something that was committed is gone"
        assert member.applied[-1].data == b"last"


def test_a_run_is_the_same_each_time() -> None:
    runs = []
    for _ in range(2):
        world = World(11, 3)
        for _ in range(1500):
            world.step()
        runs.append((world.committed, world.leaders, [member.raft.term for member in world.members.values()]))
    assert runs[0] == runs[1]
