"""The checker of histories tells those that one copy explains from those that none does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim.checks.linearizability import Call, Outcome, is_linearizable, violation
from sim.draws import Draws


def write(value: int, called: int, returned: int | None) -> Call:
    return Call("c1", "r", value, called, returned or 0, Outcome.DONE if returned else Outcome.UNKNOWN)


def read(found: int | None, called: int, returned: int) -> Call:
    return Call("c2", "r", None, called, returned, Outcome.DONE, found)


def test_a_read_sees_the_write_that_ended_before_it() -> None:
    assert is_linearizable([write(1, 0, 1), read(1, 2, 3)])
    assert not is_linearizable([write(1, 0, 1), read(None, 2, 3)])
    assert not is_linearizable([write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)])


def test_calls_at_the_same_time_may_come_in_any_order_but_in_one() -> None:
    assert is_linearizable([write(1, 0, 10), read(None, 1, 2), read(1, 3, 4)])
    assert not is_linearizable([write(1, 0, 10), read(1, 1, 2), read(None, 3, 4)])


def test_a_write_of_unknown_outcome_may_take_effect_late_or_never_and_only_once() -> None:
    assert is_linearizable([write(1, 0, None), write(2, 1, 2), read(2, 3, 4), read(1, 5, 6)])
    assert is_linearizable([write(1, 0, None), write(2, 1, 2), read(2, 3, 4)])
    assert not is_linearizable([write(1, 0, None), write(2, 1, 2), read(1, 3, 4), read(2, 5, 6)])


def test_a_violation_names_the_register_and_the_calls() -> None:
    calls = [write(1, 0, 1), read(None, 2_000_000_000, 3_000_000_000)]
    assert "of r" in violation(calls)
    assert "found None" in violation(calls)
    assert violation(calls[:1]) == ""


@given(st.integers(0, 2**32))
def test_histories_of_one_copy_are_explained(seed: int) -> None:
    """Each call takes effect at some moment between its beginning and its end, in a register that is one."""
    draws = Draws(seed)
    moments = []
    for number in range(1, 13):
        called = draws.below(100)
        moments.append((called + draws.below(20), called, number))
    value: int | None = None
    calls = []
    for at, called, number in sorted(moments):
        returned = at + 1 + draws.below(20)
        if draws.chance(500):
            value = number
            calls.append(write(number, called, returned if draws.chance(800) else None))
        else:
            calls.append(read(value, called, returned))
    assert is_linearizable(calls)
