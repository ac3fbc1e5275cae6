"""The generator is splitmix64, the same everywhere."""

from __future__ import annotations

from collections import Counter

from sim.draws import Draws


def test_the_first_numbers_are_those_of_the_reference() -> None:
    draws = Draws(0)
    assert [draws.bits() for _ in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_a_fork_does_not_depend_on_what_was_drawn_elsewhere() -> None:
    one, other = Draws(5).fork("n1"), Draws(5).fork("n1")
    other_stream = Draws(5).fork("n2")
    other_stream.bits()
    assert [one.bits() for _ in range(5)] == [other.bits() for _ in range(5)]
    assert Draws(5).fork("n1").bits() != Draws(5).fork("n2").bits()


def test_draws_keep_to_their_bounds_and_reach_them() -> None:
    draws = Draws(1)
    assert {draws.between(3, 6) for _ in range(200)} == {3, 4, 5, 6}
    assert {draws.randrange(4) for _ in range(200)} == {0, 1, 2, 3}
    assert len(draws.randbytes(13)) == 13
    assert 0 <= draws.getrandbits(70) < 1 << 70
    assert Counter(draws.chance(250) for _ in range(4000))[True] in range(850, 1150)
    items = list(range(10))
    draws.shuffle(items)
    assert sorted(items) == list(range(10))
