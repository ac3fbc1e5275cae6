"""When a node counts as down."""

from __future__ import annotations

from cluster.model.ids import NodeId
from manager.dispatcher.liveness import GRACE_NS, UNKNOWN_GRACE_NS, Liveness

ONE, TWO = NodeId("one"), NodeId("two")


def test_a_node_that_comes_back_in_time_is_never_down() -> None:
    liveness = Liveness()
    liveness.closed(ONE, 100)
    assert liveness.deadline_ns() == 100 + GRACE_NS
    assert liveness.opened(ONE, 200) == 0
    assert liveness.deadline_ns() is None
    assert liveness.expire(10 * GRACE_NS) == ()


def test_a_node_that_stays_away_is_down_once() -> None:
    liveness = Liveness()
    liveness.closed(ONE, 0)
    assert liveness.expire(GRACE_NS - 1) == ()
    assert liveness.expire(GRACE_NS) == (ONE,)
    assert liveness.expire(2 * GRACE_NS) == ()


def test_a_node_that_fell_silent_is_down_after_half_as_long_again() -> None:
    liveness = Liveness()
    liveness.closed(ONE, 3_000, silent_ns=3_000)
    assert liveness.deadline_ns() == 4_500


def test_a_node_that_comes_back_from_silence_was_slow_so_long() -> None:
    liveness = Liveness()
    liveness.closed(ONE, 3_000, silent_ns=3_000)
    assert liveness.expire(4_500) == (ONE,)
    assert liveness.opened(ONE, 20_000) == 20_000
    liveness.closed(ONE, 30_000)
    assert liveness.opened(ONE, 31_000) == 0


def test_after_a_managers_start_nodes_get_more_time() -> None:
    liveness = Liveness()
    liveness.unknown(ONE, 0)
    liveness.closed(TWO, 0)
    assert liveness.expire(GRACE_NS) == (TWO,)
    assert liveness.deadline_ns() == UNKNOWN_GRACE_NS


def test_a_removed_node_is_not_missed() -> None:
    liveness = Liveness()
    liveness.closed(ONE, 0)
    liveness.forget(ONE)
    assert liveness.deadline_ns() is None
