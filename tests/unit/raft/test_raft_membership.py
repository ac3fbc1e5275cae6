"""Scripts of changing groups: learners, promotions, removals, and who is told what."""

from __future__ import annotations

from random import Random

import pytest

from cluster.model.errors import FailedPrecondition, NotFound, NotLeader
from manager.raft import membership
from manager.raft.core import Raft, Role
from manager.raft.log import Entry, EntryKind, Log
from manager.raft.membership import History, Membership, of_voters
from manager.raft.messages import Message, MessageKind
from manager.raft.ready import Config, HardState
from tests.unit.raft.group import MEMBERS, Group


def settled(group: Group, ticks: int = 3) -> None:
    for _ in range(ticks):
        group.run()
        for member in list(group.rafts):
            group.tick(member)
    group.run()


def test_a_learner_gets_the_whole_log_and_counts_for_nothing() -> None:
    group = Group()
    group.elect(1).propose([b"a"])
    learner = group.join("four")
    settled(group)
    assert group.applied[learner] == [b"a"]
    group.isolate(2)
    group.isolate(3)
    group.leader().propose([b"b"])
    settled(group, 1)
    assert group.applied[1] == [b"a"], "one voter of three and a learner commit nothing"
    group.tick(learner, 100)
    assert group.rafts[learner].role is Role.FOLLOWER


def test_a_learner_that_caught_up_gets_a_vote_and_can_lead() -> None:
    group = Group()
    group.elect(1).propose([b"a"])
    learner = group.join("four")
    settled(group)
    leader = group.leader()
    assert leader.has_caught_up(learner)
    leader.propose_membership(leader.membership.promoted(learner))
    settled(group)
    assert group.rafts[2].membership.voters == (1, 2, 3, learner)
    group.isolate(1)
    for member in (2, 3):
        group.tick(member, 10)
    group.tick(learner, 20)
    settled(group, 1)
    assert group.rafts[learner].role is Role.LEADER


def test_a_learner_that_lags_gets_no_vote() -> None:
    group = Group()
    leader = group.elect(1)
    group.cut = {(1, 4)}
    learner = group.join("four")
    settled(group)
    with pytest.raises(FailedPrecondition, match="has not caught up"):
        leader.propose_membership(leader.membership.promoted(learner))


def test_one_change_at_a_time() -> None:
    group = Group()
    leader = group.elect(1)
    group.isolate(1)
    leader.propose_membership(leader.membership.with_learner("four", "x"))
    with pytest.raises(FailedPrecondition, match="another change"):
        leader.propose_membership(leader.membership.with_learner("five", "y"))


def test_no_change_before_an_entry_of_the_leaders_own_term_is_committed() -> None:
    """Ongaro's correction of 2015."""
    group = Group()
    group.rafts[1].campaign()
    while group.rafts[1].role is not Role.LEADER:
        group.pump(1)
        message = group.wire.pop(0)
        group.rafts[message.to].step(message)
        group.pump(message.to)
    with pytest.raises(FailedPrecondition):
        group.rafts[1].propose_membership(of_voters(1, 2))


def test_a_removed_follower_is_told_and_stays_out() -> None:
    group = Group()
    leader = group.elect(1)
    settled(group)
    leader.propose_membership(leader.membership.without(3))
    settled(group)
    assert group.rafts[3].removed
    group.tick(3, 50)
    group.run()
    assert (group.rafts[3].role, leader.role, leader.term) == (Role.FOLLOWER, Role.LEADER, 1)
    leader.propose([b"a"])
    settled(group)
    assert group.applied == {1: [b"a"], 2: [b"a"], 3: []}


def test_a_member_that_was_removed_while_it_was_away_learns_it_when_it_returns() -> None:
    group = Group()
    leader = group.elect(1)
    settled(group)
    group.isolate(3)
    leader.propose_membership(leader.membership.without(3))
    settled(group)
    assert not group.rafts[3].removed
    group.heal()
    group.tick(3, 30)
    group.run()
    assert group.rafts[3].removed
    assert (leader.role, leader.term) == (Role.LEADER, 1)


def test_a_leader_that_removes_itself_leads_until_that_is_committed() -> None:
    group = Group()
    leader = group.elect(1)
    settled(group)
    leader.propose_membership(leader.membership.without(1))
    assert leader.role is Role.LEADER
    settled(group)
    assert (leader.role, leader.removed) == (Role.FOLLOWER, True)
    group.tick(2, 20)
    group.run()
    assert group.rafts[2].role is Role.LEADER
    assert group.rafts[2].membership.voters == (2, 3)


def test_a_removal_that_would_lose_the_quorum_is_refused() -> None:
    group = Group()
    leader = group.elect(1)
    group.isolate(3)
    for _ in range(25):
        group.tick(1)
        group.run()
    with pytest.raises(FailedPrecondition, match="may result in loss of quorum"):
        leader.propose_membership(leader.membership.without(2))
    leader.propose_membership(leader.membership.without(3))
    with pytest.raises(FailedPrecondition, match="loss of quorum"):
        Group(members=(1,)).elect(1).propose_membership(Membership((), 1))


def test_a_double_demotion_keeps_its_quorum() -> None:
    group = Group()
    leader = group.elect(1)
    settled(group)
    leader.propose_membership(leader.membership.without(2))
    with pytest.raises(FailedPrecondition):
        leader.propose_membership(leader.membership.without(3))
    settled(group)
    leader.propose_membership(leader.membership.without(3))
    settled(group)
    leader.propose([b"alone"])
    settled(group)
    assert group.applied[1] == [b"alone"]


def test_a_change_that_was_never_committed_is_taken_back_with_its_entry() -> None:
    group = Group()
    old = group.elect(1)
    group.isolate(1)
    old.propose_membership(old.membership.without(3))
    group.run()
    assert old.membership.voters == (1, 2)
    group.tick(2, 20)
    group.tick(3, 10)
    group.run()
    assert group.rafts[2].role is Role.LEADER
    group.heal()
    settled(group)
    assert old.membership.voters == MEMBERS


def test_a_voter_that_does_not_know_the_candidate_yet_gives_its_vote() -> None:
    group = Group()
    group.rafts[2].step(Message(MessageKind.VOTE, 4, 2, 3, index=5, log_term=2))
    ready = group.rafts[2].ready()
    assert ready is not None
    assert [(reply.to, reply.reject) for reply in ready.messages_after] == [(4, False)]


def test_a_joining_member_with_an_empty_log_waits() -> None:
    raft = Raft(Config(4), HardState(), Log(), Random(1))
    raft.start()
    for _ in range(100):
        raft.tick()
    assert (raft.role, raft.ready()) == (Role.FOLLOWER, None)
    with pytest.raises(NotLeader):
        raft.propose_membership(Membership())


def test_a_membership_survives_a_restart_in_the_log() -> None:
    new = of_voters(1, 2).with_learner("three", "x")
    entries = [Entry(1, 1, b"a"), Entry(2, 1, membership.encode(new), EntryKind.MEMBERSHIP)]
    log = Log(entries, base=of_voters(1, 2))
    assert log.membership == new
    assert log.memberships.at(1) == of_voters(1, 2)


def test_ids_are_never_used_again() -> None:
    group = of_voters(1, 2).with_learner("three", "x").without(3).with_learner("three", "x")
    assert (group.ids, group.last_id) == ((1, 2, 4), 4)
    assert group.was_removed(3)
    assert not group.was_removed(5)
    assert not group.was_removed(4)
    with pytest.raises(FailedPrecondition, match="already"):
        group.with_learner("three", "y")
    with pytest.raises(NotFound):
        group.promoted(3)


def test_a_history_is_cut_and_compacted() -> None:
    history = History(of_voters(1))
    history.put(5, of_voters(1, 2))
    history.put(9, of_voters(1, 2, 3))
    assert [len(history.at(index).voters) for index in (0, 4, 5, 8, 9, 99)] == [1, 1, 2, 2, 3, 3]
    history.cut(9)
    assert history.changed_at == 5
    history.compact(7)
    assert (history.at(6).voters, history.latest.voters) == ((1, 2), (1, 2))
