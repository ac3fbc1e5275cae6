"""Scripts of members in memory: elections, replication, what is committed and when. Nothing is sent or written but by
the script.
"""

from __future__ import annotations

from random import Random

import pytest

from cluster.model.errors import NotLeader
from manager.raft.core import Raft, Role
from manager.raft.log import Entry, Log
from manager.raft.membership import of_voters
from manager.raft.messages import Message, MessageKind
from manager.raft.ready import Config, HardState
from tests.unit.raft.group import MEMBERS, Group, empty, log_of


def terms_of(raft: Raft) -> list[int]:
    return [raft.log.term(index) or 0 for index in range(1, raft.log.last + 1)]


def alone(hard_state: HardState, log: Log) -> Raft:
    """A member that is its own majority, and whose vote for itself is on its disk."""
    raft = Raft(Config(1), hard_state, log, Random(0))
    raft.start()
    ready = raft.ready()
    assert ready is not None
    assert ready.hard_state == HardState(hard_state.term + 1, 1)
    assert raft.role is Role.CANDIDATE
    raft.persisted(ready.number)
    assert raft.role is Role.LEADER
    return raft


def test_a_single_member_leads_when_its_vote_is_on_its_disk_and_commits_what_is_there() -> None:
    raft = alone(HardState(), empty(1))
    assert raft.propose([b"a"]) == 2
    ready = raft.ready()
    assert ready is not None
    assert [entry.data for entry in ready.entries] == [b"", b"a"]
    assert ready.committed == ()
    raft.persisted(ready.number)
    ready = raft.ready()
    assert ready is not None
    assert [entry.data for entry in ready.committed] == [b"", b"a"]
    assert not ready.must_write
    assert raft.ready() is None


def test_a_single_member_that_restarts_commits_its_old_entries_in_a_new_term() -> None:
    raft = alone(HardState(4, 1), log_of(3, 4, members=(1,)))
    ready = raft.ready()
    assert ready is not None
    assert (raft.term, ready.committed) == (5, ())
    raft.persisted(ready.number)
    ready = raft.ready()
    assert ready is not None
    assert [entry.index for entry in ready.committed] == [1, 2, 3]


def test_a_learner_hears_nothing_of_a_term_that_its_only_voter_may_still_forget() -> None:
    """A crash before the write would begin the same term again, with other entries at the same places."""
    group = of_voters(1).with_learner("node", "")
    raft = Raft(Config(1), HardState(), Log(base=group), Random(0))
    raft.start()
    asked = raft.ready()
    assert asked is not None
    assert all(message.kind is MessageKind.PRE_VOTE for message in asked.messages)
    assert raft.ready() is None
    raft.persisted(asked.number)
    leading = raft.ready()
    assert leading is not None
    assert [(message.kind, message.to) for message in leading.messages] == [(MessageKind.APPEND, 2)]


def test_a_timeout_elects_one_leader_that_all_follow() -> None:
    group = Group()
    group.tick(2, 20)
    group.run()
    assert [raft.role for raft in group.rafts.values()] == [Role.FOLLOWER, Role.LEADER, Role.FOLLOWER]
    assert {raft.leader for raft in group.rafts.values()} == {2}
    assert {raft.term for raft in group.rafts.values()} == {1}


def test_proposals_reach_everyone_in_order() -> None:
    group = Group()
    leader = group.elect(1)
    assert leader.propose([b"a", b"b"]) == 2
    assert leader.propose([b"c"]) == 4
    group.run()
    group.tell()
    assert group.applied == {1: [b"a", b"b", b"c"], 2: [b"a", b"b", b"c"], 3: [b"a", b"b", b"c"]}


def test_the_others_hear_of_a_commit_with_the_next_entry_or_at_the_next_tick_and_once() -> None:
    group = Group()
    leader = group.elect(1)
    leader.propose([b"a"])
    group.run()
    assert group.applied == {1: [b"a"], 2: [], 3: []}
    leader.propose([b"b"])
    group.run()
    assert group.applied == {1: [b"a", b"b"], 2: [b"a"], 3: [b"a"]}
    assert leader.tick()
    group.run()
    assert group.applied == {1: [b"a", b"b"], 2: [b"a", b"b"], 3: [b"a", b"b"]}
    sent = []
    for _ in range(2 * leader.config.heartbeat_ticks):
        leader.tick()
        while (ready := leader.ready()) is not None:
            sent += [message.kind for message in ready.messages]
    assert MessageKind.APPEND not in sent


def test_only_the_leader_takes_proposals() -> None:
    group = Group()
    group.elect(1)
    with pytest.raises(NotLeader):
        group.rafts[2].propose([b"a"])


def test_one_follower_of_two_is_enough_to_commit_and_none_is_not() -> None:
    group = Group()
    leader = group.elect(1)
    group.isolate(3)
    leader.propose([b"a"])
    group.run()
    assert group.applied[1] == [b"a"]
    group.isolate(2)
    leader.propose([b"b"])
    group.run()
    assert group.applied[1] == [b"a"]


def test_a_vote_is_durable_before_it_is_given() -> None:
    group = Group()
    voter = group.rafts[2]
    voter.step(Message(MessageKind.VOTE, 1, 2, 5))
    ready = voter.ready()
    assert ready is not None
    assert ready.hard_state == HardState(5, 1)
    assert ready.messages == ()
    assert [message.kind for message in ready.messages_after] == [MessageKind.VOTE_REPLY]


def test_a_member_votes_once_in_a_term() -> None:
    group = Group()
    voter = group.rafts[3]
    voter.step(Message(MessageKind.VOTE, 1, 3, 1))
    voter.step(Message(MessageKind.VOTE, 2, 3, 1))
    ready = voter.ready()
    assert ready is not None
    assert [(message.to, message.reject) for message in ready.messages_after] == [(1, False), (2, True)]


@pytest.mark.parametrize(
    ("candidate", "voter", "granted"),
    [((1, 1), (1, 1), True), ((1, 1), (1,), True), ((1,), (1, 1), False), ((2,), (1, 1), True), ((1, 1, 1), (2,), False)],
)
def test_votes_go_to_logs_that_are_as_complete_as_the_voters(
    candidate: tuple[int, ...], voter: tuple[int, ...], granted: bool
) -> None:
    group = Group({1: (HardState(3), log_of(*candidate)), 2: (HardState(3), log_of(*voter))})
    group.cut = {(1, 3), (3, 1)}
    group.rafts[1].campaign()
    group.run()
    assert (group.rafts[1].role is Role.LEADER) is granted


def test_an_entry_of_an_earlier_term_commits_only_with_one_of_the_leaders_own() -> None:
    """Figure 8 of the paper: a majority that holds an old entry is not enough."""
    group = Group({1: (HardState(3, 1), log_of(1, 2)), 2: (HardState(2), log_of(1, 2)), 3: (HardState(3), log_of(1))})
    group.rafts[1].campaign()
    leader = group.rafts[1]
    group.pump(1)
    while group.wire:
        message = group.wire.pop(0)
        if message.kind is MessageKind.APPEND:
            message = Message(
                message.kind, message.sender, message.to, message.term, message.index, message.log_term,
                tuple(entry for entry in message.entries if entry.term < leader.term), message.commit,
            )  # fmt: skip
        group.rafts[message.to].step(message)
        group.pump(message.to)
        if leader.role is Role.LEADER and group.rafts[3].log.last == 2:
            break
    assert group.rafts[3].log.last == 2
    assert leader.log.committed == 0


def test_a_followers_conflicting_tail_is_replaced_figure_7() -> None:
    leader_log = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
    follower_logs = {
        "lacks one": (1, 1, 1, 4, 4, 5, 5, 6, 6),
        "lacks many": (1, 1, 1, 4),
        "has more of the same": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
        "has a later term": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
        "has another end": (1, 1, 1, 4, 4, 4, 4),
        "has another middle": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
    }
    for name, terms in follower_logs.items():
        group = Group({
            1: (HardState(8), log_of(*leader_log)), 2: (HardState(7), log_of(*terms)), 3: (HardState(7), empty(*MEMBERS)),
        })  # fmt: skip
        group.cut = {(1, 2), (2, 1)}
        leader = group.elect(1)
        group.heal()
        group.tick(1)
        group.run()
        group.tick(1)
        group.run()
        assert terms_of(group.rafts[2]) == terms_of(leader), name
        assert group.rafts[2].log.committed == leader.log.committed, name


def test_a_conflict_is_found_in_a_few_messages() -> None:
    """The hints skip whole terms instead of going back one entry at a time."""
    group = Group({1: (HardState(3), log_of(*[1] * 5, *[3] * 100)), 2: (HardState(2), log_of(*[1] * 5, *[2] * 100))})
    group.cut = {(1, 2), (2, 1)}
    group.elect(1)
    group.heal()
    group.tick(1)
    appends = 0
    group.pump(1)
    while group.wire:
        message = group.wire.pop(0)
        appends += message.to == 2 and message.kind is MessageKind.APPEND
        group.rafts[message.to].step(message)
        group.pump(message.to)
    assert terms_of(group.rafts[2]) == terms_of(group.rafts[1])
    assert appends <= 5


def test_a_member_that_was_cut_off_disturbs_no_one_when_it_returns() -> None:
    group = Group()
    leader = group.elect(1)
    group.isolate(3)
    for _ in range(5):
        group.tick(3, 20)
        group.run()
    assert group.rafts[3].term == 1
    group.heal()
    group.tick(3, 20)
    group.run()
    assert (leader.role, leader.term) == (Role.LEADER, 1)


def test_a_leader_that_hears_no_majority_steps_down() -> None:
    group = Group()
    leader = group.elect(1)
    for _ in range(25):
        group.tick(1)
        group.run()
    heard = leader.role
    group.isolate(1)
    for _ in range(20):
        group.tick(1)
        group.run()
    assert (heard, leader.role, leader.leader) == (Role.LEADER, Role.FOLLOWER, 0)


def test_votes_are_refused_while_a_leader_is_heard() -> None:
    group = Group()
    group.elect(1)
    group.rafts[2].step(Message(MessageKind.VOTE, 3, 2, 9, index=99, log_term=9))
    assert group.rafts[2].term == 1
    assert group.rafts[2].ready() is None


def test_an_old_leader_learns_of_the_new_term_and_its_lost_entry_is_replaced() -> None:
    group = Group()
    old = group.elect(1)
    group.isolate(1)
    old.propose([b"lost"])
    group.run()
    group.tick(2, 20)
    group.tick(3, 10)
    group.run()
    new = group.rafts[2]
    assert new.role is Role.LEADER
    new.propose([b"kept"])
    group.run()
    group.heal()
    group.tick(1)
    group.tick(2)
    group.run()
    group.tick(2)
    group.run()
    assert old.role is Role.FOLLOWER
    assert group.applied == {1: [b"kept"], 2: [b"kept"], 3: [b"kept"]}


def test_lost_appends_are_sent_again_after_a_heartbeat() -> None:
    group = Group()
    leader = group.elect(1)
    group.cut = {(1, 2), (1, 3)}
    leader.propose([b"a"])
    group.run()
    group.heal()
    for _ in range(3):
        group.tick(1)
        leader.propose([b"b"])
        group.run()
    group.tell()
    assert group.applied[2] == group.applied[3] == [b"a", b"b", b"b", b"b"]


def test_duplicated_and_reordered_messages_change_nothing() -> None:
    group = Group()
    leader = group.elect(1)
    rng = Random(7)
    for number in range(40):
        leader.propose([b"%d" % number])
        group.pump(1)
        group.wire += rng.sample(group.wire, min(3, len(group.wire)))
        rng.shuffle(group.wire)
        for _ in range(rng.randrange(8)):
            if group.wire:
                message = group.wire.pop(0)
                group.rafts[message.to].step(message)
                group.pump(message.to)
    for _ in range(5):
        group.run()
        group.tick(1)
    group.run()
    expected = [b"%d" % number for number in range(40)]
    assert group.applied == {1: expected, 2: expected, 3: expected}


def test_the_window_limits_unanswered_appends() -> None:
    rafts = Group()
    rafts.rafts[1] = Raft(Config(1, max_inflight_appends=4), HardState(), empty(*MEMBERS), Random(1))
    leader = rafts.elect(1)
    for number in range(10):
        leader.propose([b"%d" % number])
    ready = leader.ready()
    assert ready is not None
    assert sum(message.to == 2 for message in ready.messages) == 4
    rafts.wire += ready.messages
    leader.persisted(ready.number)
    rafts.run()
    rafts.tell()
    assert len(rafts.applied[2]) == 10


def test_large_entries_are_split_over_appends() -> None:
    group = Group()
    group.rafts[1] = Raft(Config(1, max_append_bytes=100), HardState(), empty(*MEMBERS), Random(1))
    leader = group.elect(1)
    leader.propose([b"x" * 60, b"y" * 60, b"z" * 500])
    ready = leader.ready()
    assert ready is not None
    sizes = [[len(entry.data) for entry in message.entries] for message in ready.messages if message.to == 2]
    assert sizes == [[60], [60], [500]]


def test_a_write_that_was_overtaken_does_not_vouch_for_what_replaced_it() -> None:
    """The ABA race of asynchronous storage: entry 1 is written, cut, replaced, and only the first write is done."""
    raft = Raft(Config(1), HardState(), empty(*MEMBERS), Random(1))
    raft.step(Message(MessageKind.APPEND, 2, 1, 1, entries=(Entry(1, 1, b"a"),)))
    first = raft.ready()
    raft.step(Message(MessageKind.APPEND, 3, 1, 2, entries=(Entry(1, 2, b"b"),)))
    second = raft.ready()
    raft.step(Message(MessageKind.HEARTBEAT, 3, 1, 2, commit=1))
    assert first is not None
    assert second is not None
    raft.persisted(first.number)
    assert raft.log.stable == 0
    heartbeat = raft.ready()
    assert heartbeat is not None
    assert heartbeat.committed == ()
    raft.persisted(second.number)
    done = raft.ready()
    assert done is not None
    assert [entry.data for entry in done.committed] == [b"b"]


def test_a_log_forgets_what_a_snapshot_holds_and_goes_on() -> None:
    raft = alone(HardState(), empty(1))
    raft.propose([b"a", b"b", b"c"])
    ready = raft.ready()
    assert ready is not None
    raft.persisted(ready.number)
    raft.ready()
    raft.log.compact(3)
    assert (raft.log.offset, raft.log.last, raft.log.term(3), raft.log.term(2)) == (3, 4, 1, None)
    assert raft.propose([b"d"]) == 5


def test_a_follower_commits_only_what_it_knows_to_agree_with_the_leader() -> None:
    """Its stale tail is longer than what the append covers, and the leader has committed past both."""
    raft = Raft(Config(1), HardState(1), log_of(1, 1, 1), Random(1))
    raft.step(Message(MessageKind.APPEND, 2, 1, 2, index=1, log_term=1, commit=3))
    assert raft.log.committed == 1


def test_what_replaced_a_durable_entry_is_applied_when_it_is_durable_itself() -> None:
    raft = Raft(Config(1), HardState(1), log_of(1), Random(1))
    assert raft.log.stable == 1
    raft.step(Message(MessageKind.APPEND, 2, 1, 2, entries=(Entry(1, 2, b"new"),), commit=1))
    ready = raft.ready()
    assert ready is not None
    assert ready.committed == ()
    raft.persisted(ready.number)
    ready = raft.ready()
    assert ready is not None
    assert [entry.data for entry in ready.committed] == [b"new"]


def test_an_answer_to_an_earlier_question_is_no_vote() -> None:
    raft = Raft(Config(1), HardState(4), empty(*MEMBERS), Random(1))
    raft.campaign()
    raft.step(Message(MessageKind.PRE_VOTE_REPLY, 2, 1, 9))
    before = raft.role
    raft.step(Message(MessageKind.PRE_VOTE_REPLY, 2, 1, 5))
    assert (before, raft.role) == (Role.PRE_CANDIDATE, Role.CANDIDATE)


def test_when_the_leaders_connections_break_the_voters_stand_one_after_the_other_at_once() -> None:
    group = Group()
    group.elect(1)
    group.cut = {(1, 2), (1, 3), (2, 1), (3, 1)}
    for member in (2, 3):
        group.rafts[member].lost(1)
    group.tick(3)
    group.tick(2)
    group.run()
    assert group.rafts[2].role is Role.LEADER
    assert group.rafts[3].leader == 2


def test_a_broken_connection_to_a_leader_that_lives_changes_nothing() -> None:
    group = Group()
    leader = group.elect(1)
    group.rafts[2].lost(1)
    group.tick(2)
    group.run()
    assert (leader.role, leader.term) == (Role.LEADER, 1)
    group.tick(1, leader.config.heartbeat_ticks)
    group.run()
    assert group.rafts[2].leader == 1


def test_a_broken_connection_to_another_follower_is_nothing() -> None:
    group = Group()
    group.elect(1)
    group.rafts[2].lost(3)
    assert group.rafts[2].leader == 1
