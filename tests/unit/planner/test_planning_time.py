"""The planner's time: the wall clock's, but it neither goes back nor stands still when that is set back."""

from __future__ import annotations

from random import Random

from manager.planning import Planning
from manager.store import Store

S = 1_000_000_000
WALL = 1_700_000_000 * S


def planning() -> Planning:
    return Planning(Store(), Random(1), Random(1))


def test_it_is_the_wall_clocks_also_when_that_jumps_ahead() -> None:
    times = planning()
    for wall, steady in ((WALL, 5 * S), (WALL + S, 6 * S), (WALL + 90 * S, 7 * S)):
        assert times.now_ns(wall, steady) == wall
    assert times.wait_ns(WALL + 91 * S, WALL + 90 * S, 7 * S) == S
    assert times.wait_ns(WALL, WALL + 90 * S, 7 * S) == 0


def test_after_a_clock_was_set_back_a_wait_takes_twice_as_long_and_not_as_long_as_it_was_set_back() -> None:
    times, due = planning(), WALL + 5 * S
    times.now_ns(WALL, 0)
    wall, steady = WALL - 3600 * S, 0
    wait = times.wait_ns(due, wall, steady)
    assert wait == 10 * S
    assert times.now_ns(wall + 4 * S, 4 * S) == WALL + 2 * S
    assert times.now_ns(wall + wait, wait) == due
    assert times.now_ns(wall + 7200 * S, 7200 * S) == WALL + 3600 * S, "and the clock has caught up"
    assert times.now_ns(wall + 7201 * S, 7201 * S) == WALL + 3601 * S
