"""A member's store follows the log piece by piece: what follows from a piece follows at once, what follows from all of it when all is there."""

from __future__ import annotations

from random import Random

from cluster.model.changes import created
from cluster.model.errors import Unavailable
from cluster.model.ids import NetworkId
from cluster.model.objects import Network
from cluster.model.specs import NetworkSpec
from manager.raft.core import Raft
from manager.raft.effects import Answer, Resolve, Save, Send, Write
from manager.raft.log import Log
from manager.raft.member import RaftMember, prepare
from manager.raft.membership import of_voters
from manager.raft.messages import Message, MessageKind
from manager.raft.ready import Config, HardState
from manager.raft_storage.snapshots import Snapshot
from manager.store import Batch, Store

ROOM_BYTES = 1 << 30


class Leading:
    """A member that leads two followers, which the test plays."""

    def __init__(self) -> None:
        self.store = Store()
        self.member = RaftMember(self.store, Raft(Config(1), HardState(), Log(base=of_voters(1, 2, 3)), Random(1)), ROOM_BYTES)
        self.answers: dict[int, Answer] = {}
        self.saves = 0
        self.member.raft.campaign()
        self.work()
        for kind in (MessageKind.PRE_VOTE_REPLY, MessageKind.VOTE_REPLY):
            self.hear(kind, term=1)
        self.acknowledge()
        self.member.settle()
        self.take()
        assert self.member.leads

    def hear(self, kind: MessageKind, *, term: int, index: int = 0) -> None:
        self.member.receive((Message(kind, 2, 1, term, index),))
        self.work()

    def acknowledge(self) -> None:
        for follower in (2, 3):
            self.member.receive((Message(MessageKind.APPEND_REPLY, follower, 1, self.member.raft.term, self.member.raft.log.last),))
        self.work()

    def work(self) -> None:
        """Do all but settle."""
        self.member.advance()
        while self.take():
            self.member.wrote(ROOM_BYTES)
            self.member.advance()

    def take(self) -> bool:
        """Whether there was something to write."""
        wrote = False
        for effect in self.member.take_effects():
            wrote |= isinstance(effect, Write)
            self.saves += isinstance(effect, Save)
            if isinstance(effect, Resolve):
                self.answers.update(effect.answers)
        return wrote

    def propose(self, number: int) -> list[int]:
        names = [f"n{len(self.answers)}-{each}" for each in range(number)]
        return [self.member.propose(prepare((created(Network(NetworkId(name), NetworkSpec(name))),))) for name in names]


def test_who_has_its_answer_does_not_wait_for_the_entries_behind() -> None:
    leading = Leading()
    tickets = leading.propose(5)
    leading.work()
    leading.acknowledge()
    leading.member.settle(2)
    leading.take()
    assert list(leading.answers) == tickets[:2]
    assert leading.member.applied == leading.store.index == leading.member.raft.log.applied - 3
    assert not leading.member.is_settled
    leading.member.settle(2)
    leading.member.settle(2)
    leading.take()
    assert [type(leading.answers[ticket]) for ticket in tickets] == [Batch] * 5
    assert leading.member.is_settled
    assert leading.member.applied == leading.member.raft.log.applied


def test_a_read_waits_until_the_store_has_seen_what_it_must_see() -> None:
    leading = Leading()
    member, term = leading.member, leading.member.raft.term
    leading.propose(3)
    member.advance()
    assert leading.take(), "the own disk takes its time"
    for follower in (2, 3):
        member.receive((Message(MessageKind.APPEND_REPLY, follower, 1, term, member.raft.log.last),))
    member.advance()
    read = member.read()
    assert read is not None
    member.advance()
    member.receive((Message(MessageKind.HEARTBEAT_REPLY, 2, 1, term, read=1),))
    member.advance()
    member.settle()
    member.wrote(ROOM_BYTES)
    leading.work()
    member.settle(2)
    leading.take()
    assert read not in leading.answers
    member.settle(2)
    leading.take()
    assert leading.answers[read] is None


def test_a_snapshot_is_of_a_store_that_has_seen_all_that_its_index_says() -> None:
    leading = Leading()
    leading.propose(3)
    leading.work()
    leading.acknowledge()
    leading.member.ask_snapshot()
    leading.member.settle(1)
    leading.take()
    assert not leading.saves
    leading.member.settle()
    leading.take()
    assert leading.saves


def test_who_lost_the_leadership_knows_first_what_was_committed() -> None:
    leading = Leading()
    known = leading.propose(3)
    leading.work()
    leading.acknowledge()
    unknown = leading.propose(2)
    leading.work()
    leading.hear(MessageKind.HEARTBEAT, term=5)
    leading.member.settle(1)
    leading.take()
    assert [type(leading.answers[ticket]) for ticket in known] == [Batch] * 3
    assert [type(leading.answers[ticket]) for ticket in unknown] == [Unavailable] * 2


def test_a_follower_that_loads_a_snapshot_goes_on_answering() -> None:
    leader, index = Store(), 40
    leader.apply(index, tuple(created(Network(NetworkId(f"n{number}"), NetworkSpec(f"n{number}"))) for number in range(10)))
    store = Store()
    follower = RaftMember(store, Raft(Config(2), HardState(), Log(base=of_voters(1, 2, 3)), Random(1)), ROOM_BYTES)
    snapshot = Snapshot(index, 1, leader.save(), of_voters(1, 2, 3))
    follower.receive((Message(MessageKind.SNAPSHOT, 1, 2, 1, index, 1, membership=of_voters(1, 2, 3)),), snapshot)
    follower.advance()
    assert any(isinstance(effect, Write) for effect in follower.take_effects())
    follower.wrote(ROOM_BYTES)
    pieces = answers = 0
    while not follower.is_settled:
        follower.settle(3)
        pieces += 1
        assert follower.applied == store.index == (index if follower.is_settled else 0), "all of it or nothing"
        follower.receive((Message(MessageKind.HEARTBEAT, 1, 2, 1, commit=index, read=pieces),))
        follower.advance()
        answers += sum(isinstance(effect, Send) and effect.message.read == pieces for effect in follower.take_effects())
    assert (pieces, answers) == (4, 4)
    assert store.digest() == leader.digest()


def test_snapshots_that_come_while_the_disk_is_slow_are_written_one_after_the_other() -> None:
    follower = RaftMember(Store(), Raft(Config(2), HardState(), Log(base=of_voters(1, 2, 3)), Random(1)), ROOM_BYTES)
    follower.receive((Message(MessageKind.HEARTBEAT, 1, 2, 1),))
    follower.advance()
    assert any(isinstance(effect, Write) for effect in follower.take_effects()), "of the new term, which takes its time"
    for index, term in ((20, 2), (40, 3), (30, 3)):  # the last one is older than what is known to be committed
        snapshot = Snapshot(index, term, b"", of_voters(1, 2, 3))
        follower.receive((Message(MessageKind.SNAPSHOT, 1, 2, term, index, term, membership=of_voters(1, 2, 3)),), snapshot)
        if index == 20:
            follower.advance()
    follower.advance()
    written = []
    for _ in range(2):
        follower.wrote(ROOM_BYTES)
        follower.advance()
        written += [effect.snapshot.index for effect in follower.take_effects() if isinstance(effect, Write) and effect.snapshot is not None]
    assert written == [20, 40]
