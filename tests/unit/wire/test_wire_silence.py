"""How long a peer may say nothing."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cluster.wire.silence import INTERVALS_MAX, Silence, Verdict


def dead_at(silence: Silence) -> float:
    """When a peer that says nothing more counts as dead, to one who always looks in time."""
    while True:
        now_s = silence.due_s
        if silence.look(now_s) is Verdict.DEAD:
            return now_s


def spoken(silence: Silence, at_s: list[float]) -> None:
    """Words at these times, and a look whenever it is due."""
    for word_s in at_s:
        while silence.due_s < word_s:
            assert silence.look(silence.due_s) is not Verdict.DEAD
        silence.heard(word_s)


def test_a_peer_that_was_always_in_time_is_dead_after_three_intervals() -> None:
    silence = Silence(1.0, 0.0)
    spoken(silence, [float(n) for n in range(1, 50)])
    assert dead_at(silence) == 49.0 + 3.0


def test_a_ping_is_due_after_each_interval_of_silence() -> None:
    silence = Silence(1.0, 0.0)
    assert [(silence.due_s, silence.look(silence.due_s)) for _ in range(3)] == [(1.0, Verdict.SILENT), (2.0, Verdict.SILENT), (3.0, Verdict.DEAD)]


def test_a_peer_that_is_slow_at_times_gets_more_time() -> None:
    silence = Silence(1.0, 0.0)
    spoken(silence, [1.0, 3.5])  # two seconds and a half without a word: one and a half too late
    assert 3.5 + 3.0 + 2.8 < dead_at(silence) <= 3.5 + 3.0 + 2 * 1.5  # the two looks since have forgotten a little


def test_what_is_known_of_a_peer_from_before_counts() -> None:
    silence = Silence(1.0, 0.0)
    silence.forgive(2.0)
    assert dead_at(silence) > 3.0 + 2 * 2.0 * 0.9
    silence = Silence(1.0, 0.0)
    silence.forgive(1e9)
    assert dead_at(silence) == INTERVALS_MAX


def test_lateness_is_forgotten() -> None:
    silence = Silence(1.0, 0.0)
    spoken(silence, [1.0, 3.5, *(3.5 + n / 2 for n in range(1, 400))])
    last_s = 3.5 + 399 / 2
    assert last_s + 3.0 <= dead_at(silence) < last_s + 3.2


def test_what_we_were_late_ourselves_is_no_silence_of_the_peers() -> None:
    silence = Silence(1.0, 0.0)
    spoken(silence, [1.0])
    assert silence.look(9.0) is not Verdict.DEAD  # nobody listened for seven seconds
    assert dead_at(silence) > 9.0 + 2.0


@given(st.lists(st.floats(0.01, 2.9), max_size=50), st.integers(0, 2**32))
def test_a_silent_peer_is_dead_in_bounded_time_whatever_it_was_like(gaps: list[float], seed: int) -> None:
    silence, now_s, draw = Silence(1.0, 0.0), 0.0, random.Random(seed)
    for gap_s in gaps:
        end_s = now_s + gap_s
        while silence.due_s < end_s:
            now_s = min(silence.due_s + draw.choice((0.0, 0.0, 0.2)), end_s)
            assert silence.look(now_s) is not Verdict.DEAD
        now_s = end_s
        silence.heard(now_s)
    assert now_s + 3.0 <= dead_at(silence) <= now_s + INTERVALS_MAX


def test_of_two_silent_sides_only_the_one_without_patience_pings() -> None:
    caller, server = Silence(1.0, 0.0), Silence(1.0, 0.0, 0.5)
    pings = 0
    for _ in range(100):
        if caller.due_s <= server.due_s:
            now_s = caller.due_s
            if caller.look(now_s) is Verdict.SILENT:
                pings += 1
                server.heard(now_s + 0.1)
                caller.heard(now_s + 0.2)
        else:
            assert server.look(server.due_s) is Verdict.HEARD
    assert pings > 20


def test_a_side_with_patience_pings_too_when_no_ping_comes_and_waits_no_longer_for_a_dead_peer() -> None:
    silence = Silence(1.0, 0.0, 0.5)
    assert [(silence.due_s, silence.look(silence.due_s)) for _ in range(3)] == [(1.5, Verdict.SILENT), (2.5, Verdict.SILENT), (3.0, Verdict.DEAD)]
