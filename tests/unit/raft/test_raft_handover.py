"""Scripts of snapshots, linearizable reads and handing over the leadership."""

from __future__ import annotations

import pytest

from cluster.model.errors import NotLeader
from manager.raft.core import Role
from manager.raft.messages import Message, MessageKind
from manager.raft.ready import HardState
from tests.unit.raft.group import Group, log_of


def compacted_behind_a_follower() -> Group:
    """1 leads; 3 was away while its entries went into a snapshot."""
    group = Group()
    leader = group.elect(1)
    group.isolate(3)
    leader.propose([b"a", b"b", b"c"])
    group.run()
    leader.log.compact(leader.log.applied)
    group.heal()
    return group


def test_a_follower_whose_entries_are_compacted_gets_a_snapshot_and_goes_on() -> None:
    group = compacted_behind_a_follower()
    leader = group.leader()
    group.tick(1)
    group.run()
    leader.propose([b"d"])
    group.run()
    group.tell()
    assert group.applied[3] == [b"snapshot to 4", b"d"]
    assert [point.index for point in group.snapshots] == [4]
    assert group.rafts[3].membership == leader.membership


def test_a_snapshot_that_did_not_arrive_is_sent_again() -> None:
    group = compacted_behind_a_follower()
    group.rafts[1].step(Message(MessageKind.APPEND_REPLY, 3, 1, 1, index=4, reject=True))
    group.cut = {(1, 3)}
    group.run()
    assert group.applied[3] == []
    group.heal()
    for _ in range(2):
        group.tick(1)
        group.run()
    assert group.applied[3] == [b"snapshot to 4"]


def test_a_new_member_gets_a_snapshot_of_what_is_compacted() -> None:
    group = compacted_behind_a_follower()
    learner = group.join("four")
    for _ in range(3):
        group.tick(1)
        group.run()
    assert group.applied[learner][0].startswith(b"snapshot")
    assert group.rafts[learner].membership.last_id == learner


def test_a_snapshot_of_what_is_known_already_changes_nothing() -> None:
    group = Group()
    leader = group.elect(1)
    leader.propose([b"a"])
    group.run()
    group.send_snapshot(leader, 2)
    group.run()
    assert group.snapshots == []
    assert group.applied[2] == [b"a"]


def test_a_snapshot_that_agrees_with_the_log_commits_what_the_log_has() -> None:
    group = Group({1: (HardState(2), log_of(1, 2)), 2: (HardState(2), log_of(1, 2)), 3: (HardState(2), log_of(1, 2))})
    leader = group.elect(1)
    follower = group.rafts[2]
    follower.log.committed = 0
    follower.step(Message(MessageKind.SNAPSHOT, 1, 2, leader.term, index=2, log_term=2, membership=leader.membership))
    ready = follower.ready()
    assert ready is not None
    assert (ready.snapshot, follower.log.committed, follower.log.offset) == (None, 2, 0)


def test_a_read_waits_for_a_majority_that_still_follows() -> None:
    group = Group()
    leader = group.elect(1)
    leader.propose([b"a"])
    group.run()
    leader.read(7)
    group.pump(1)
    assert group.reads == []
    group.run()
    assert group.reads == [(7, leader.log.committed)]


def test_a_leader_that_was_cut_off_answers_no_read() -> None:
    group = Group()
    leader = group.elect(1)
    group.isolate(1)
    leader.read(7)
    group.run()
    group.heal()
    group.cut = {(1, 2), (1, 3)}
    group.run()
    assert group.reads == []


def test_a_read_of_a_new_leader_waits_for_the_entry_of_its_term() -> None:
    group = Group({1: (HardState(3), log_of(1, 2)), 2: (HardState(3), log_of(1, 2)), 3: (HardState(3), log_of(1, 2))})
    group.rafts[1].campaign()
    while group.rafts[1].role is not Role.LEADER:
        group.pump(1)
        message = group.wire.pop(0)
        group.rafts[message.to].step(message)
        group.pump(message.to)
    group.rafts[1].read(1)
    group.pump(1)
    assert group.reads == []
    group.run()
    assert group.reads == [(1, 3)]


def test_a_lost_round_of_reads_is_repeated_by_the_heartbeats() -> None:
    group = Group()
    leader = group.elect(1)
    group.cut = {(1, 2), (1, 3)}
    leader.read(1)
    group.run()
    group.heal()
    group.tick(1)
    group.run()
    assert [request for request, _ in group.reads] == [1]


def test_a_single_member_reads_at_once_and_a_follower_never() -> None:
    group = Group(members=(1,))
    group.elect(1).read(1)
    group.pump(1)
    assert group.reads == [(1, 1)]
    group = Group()
    group.elect(1)
    with pytest.raises(NotLeader):
        group.rafts[2].read(1)


def test_the_leadership_goes_to_whom_it_is_handed_without_waiting_for_a_timeout() -> None:
    group = Group()
    leader = group.elect(1)
    leader.propose([b"a"])
    assert leader.transfer(3) == 3
    with pytest.raises(NotLeader):
        leader.propose([b"refused"])
    group.run()
    assert (group.rafts[3].role, leader.role) == (Role.LEADER, Role.FOLLOWER)
    assert group.rafts[3].term == 2


def test_a_handover_waits_until_the_other_has_the_log() -> None:
    group = Group()
    leader = group.elect(1)
    group.cut = {(1, 3)}
    leader.propose([b"a"])
    group.run()
    leader.transfer(3)
    group.heal()
    for _ in range(3):
        group.tick(1)
        group.run()
    assert group.rafts[3].role is Role.LEADER
    assert group.applied[3] == [b"a"]


def test_a_handover_that_does_not_succeed_is_given_up() -> None:
    group = Group()
    leader = group.elect(1)
    for _ in range(5):
        group.tick(1)
        group.run()
    group.isolate(3)
    assert leader.transfer(3) == 3
    for _ in range(12):
        group.tick(1)
        group.run()
    leader.propose([b"a"])
    group.run()
    group.tell()
    assert group.applied[2] == [b"a"]


def test_without_a_name_the_furthest_voter_takes_over_and_nobody_when_alone() -> None:
    group = Group()
    leader = group.elect(1)
    group.cut = {(1, 2)}
    leader.propose([b"a"])
    group.run()
    assert leader.transfer() == 3
    assert Group(members=(1,)).elect(1).transfer() == 0
    assert Group().elect(1).transfer(9) == 0
