"""A member whose log is not what it was: its machine was set back to a snapshot. It is told by whoever remembers, and takes no part."""

from __future__ import annotations

from random import Random

from manager.raft.core import Raft, Role
from manager.raft.log import Entry, Log
from manager.raft.membership import of_voters
from manager.raft.messages import Message, MessageKind
from manager.raft.ready import Config, HardState
from manager.raft.witness import Held, Witness
from tests.unit.raft.group import MEMBERS, Group

TICKS = 3


def led_by_one(payloads: int = 3) -> Group:
    """A group in which all hold all, and all know it."""
    group = Group()
    leader = group.elect(1)
    leader.propose([b"%d" % number for number in range(payloads)])
    group.run()
    for _ in range(TICKS):
        leader.tick()
        group.run()
    return group


def set_back(group: Group, member: int, last: int) -> Raft:
    """The member begins anew with less of its log than it had acknowledged, in the term of then."""
    was = group.rafts[member]
    entries = was.log.between(1, last) if last else ()
    group.rafts[member] = Raft(Config(member), HardState(was.term, was.vote), Log(entries, committed=last, base=of_voters(*MEMBERS)), Random(member))
    return group.rafts[member]


def test_every_member_can_tell_every_other_one_what_it_held() -> None:
    group = led_by_one()
    last = group.rafts[1].log.last
    for teller in MEMBERS:
        for other in MEMBERS:
            if other != teller:
                told = group.rafts[teller].held_by(other)
                assert told is not None
                assert (told.kind, told.to, told.index, told.log_term) == (MessageKind.HELD, other, last, 1)


def test_a_follower_that_was_set_back_is_told_by_another_follower_and_votes_for_nobody() -> None:
    """The leader is gone, and the third member lags: with the second one's vote it would lead, and lose what was acknowledged."""
    group = Group()
    leader = group.elect(1)
    group.cut = {(1, 3), (3, 1)}
    leader.propose([b"acknowledged"])
    group.run()
    assert group.applied[1] == [b"acknowledged"]
    group.cut = {(1, 3)}
    leader.tick()
    group.run()
    group.cut = set()
    leader.tick()
    group.run()  # heartbeats reach the third one, appends do not yet
    third = group.rafts[3]
    told = third.held_by(2)
    assert told is not None
    second = set_back(group, 2, 1)
    second.step(told)
    assert second.went_back
    second.step(Message(MessageKind.VOTE, 3, 2, second.term + 1, index=9, log_term=9))
    second.campaign()
    assert second.role is Role.FOLLOWER
    ready = second.ready()
    assert ready is None or (not ready.messages and not ready.messages_after)


def test_a_follower_whose_connection_lived_on_learns_it_from_the_leaders_heartbeat() -> None:
    group = led_by_one()
    second = set_back(group, 2, 2)
    group.rafts[1].tick()
    group.run()
    assert second.went_back
    assert not group.rafts[3].went_back


def test_a_leader_that_was_set_back_is_told_too() -> None:
    group = led_by_one()
    told = group.rafts[2].held_by(1)
    assert told is not None
    first = set_back(group, 1, 1)
    first.step(told)
    assert first.went_back


def test_what_is_said_of_a_member_may_be_old_and_it_only_counts_what_is_committed() -> None:
    group = Group()
    leader = group.elect(1)
    group.cut = {(2, 1), (1, 3), (3, 1)}  # the second one takes it, and nobody hears that it did
    leader.propose([b"not committed"])
    group.run()
    told = leader.held_by(2)
    group.cut = {(1, 2), (2, 1), (1, 3), (3, 1)}
    group.rafts[2].log.committed = 1
    assert told is not None
    assert told.index == 1
    for _ in range(2):
        group.rafts[2].step(told)
    assert not group.rafts[2].went_back


def test_an_entry_that_is_compacted_here_or_unknown_there_is_no_reason() -> None:
    raft = Raft(Config(2), HardState(4), Log((Entry(8, 4, b"x"),), 7, 3, 8, of_voters(*MEMBERS)), Random(2))
    for index, term in ((3, 1), (7, 3), (8, 4), (8, 0)):
        raft.step(Message(MessageKind.HELD, 1, 2, 4, index, term))
        assert not raft.went_back
    raft.step(Message(MessageKind.HELD, 1, 2, 4, 8, 3))
    assert raft.went_back


def test_the_most_that_was_ever_said_counts_and_who_is_gone_is_forgotten() -> None:
    witness = Witness()
    witness.note((Held(1, 5, 2), Held(2, 7, 2)))
    witness.note((Held(1, 4, 2), Held(3, 1, 1)))
    assert (witness.of(1), witness.of(2), witness.of(3)) == (Held(1, 5, 2), None, Held(3, 1, 1))
