"""What a leader knows of a follower, row by row; and majorities."""

from __future__ import annotations

import pytest

from manager.raft.progress import Mode, Progress
from manager.raft.votes import Outcome, Votes, majority_index, quorum


def replicating(match: int, window: int = 3) -> Progress:
    progress = Progress(match + 1, window)
    progress.acknowledged(match)
    assert progress.mode is Mode.REPLICATE
    return progress


def test_a_probe_waits_for_its_answer_and_an_answered_one_lets_appends_run_ahead() -> None:
    progress = Progress(11, 3)
    progress.sent(12, 2)
    assert progress.paused
    assert progress.next == 11
    assert progress.acknowledged(12)
    assert (progress.mode, progress.match, progress.next, progress.paused) == (Mode.REPLICATE, 12, 13, False)
    progress.sent(15, 3)
    assert progress.next == 16


def test_the_window_fills_empties_and_lets_one_more_go_after_a_heartbeat() -> None:
    progress = replicating(5)
    for index in (6, 7, 8):
        assert not progress.paused
        progress.sent(index, 1)
    assert progress.paused
    progress.answered_heartbeat()
    assert not progress.paused
    progress.sent(9, 1)
    assert progress.paused
    assert progress.acknowledged(8)
    assert not progress.paused


def test_a_rejection_that_was_overtaken_changes_nothing() -> None:
    progress = replicating(5)
    assert not progress.rejected(5, 2)
    assert progress.mode is Mode.REPLICATE
    assert progress.rejected(6, 5)
    assert (progress.mode, progress.next) == (Mode.PROBE, 6)
    assert not progress.rejected(9, 2)


@pytest.mark.parametrize(("before", "hint", "next_index"), [(10, 4, 5), (10, 10, 10), (10, 0, 1)])
def test_a_probe_goes_back_to_the_hint(before: int, hint: int, next_index: int) -> None:
    progress = Progress(before + 1, 3)
    assert progress.rejected(before, hint)
    assert progress.next == next_index


def test_an_acknowledgement_that_says_nothing_new_is_no_news() -> None:
    progress = replicating(5)
    assert not progress.acknowledged(4)
    assert (progress.match, progress.next) == (5, 6)


@pytest.mark.parametrize(("members", "majority"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_quorum_is_more_than_half(members: int, majority: int) -> None:
    assert quorum(members) == majority


@pytest.mark.parametrize(
    ("indexes", "index"), [([7], 7), ([1, 9], 1), ([1, 5, 9], 5), ([1, 2, 8, 9], 2), ([1, 2, 3, 8, 9], 3)]
)
def test_the_majoritys_index(indexes: list[int], index: int) -> None:
    assert majority_index(indexes) == index


def test_votes_count_once_and_strangers_never() -> None:
    votes = Votes((1, 2, 3))
    assert votes.record(1, True) is Outcome.PENDING
    assert votes.record(9, True) is Outcome.PENDING
    assert votes.record(2, False) is Outcome.PENDING
    assert votes.record(2, True) is Outcome.PENDING
    assert votes.record(3, True) is Outcome.WON
    lost = Votes((1, 2, 3))
    lost.record(1, False)
    assert lost.record(2, False) is Outcome.LOST
