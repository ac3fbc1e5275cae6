"""Entries for remote endpoints: made from the change, they are those that are made from all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netfabric.reach import reached
from netfabric.view import Remote

ADDRESSES, VTEPS = st.sampled_from([f"10.0.0.{n}" for n in range(2, 9)]), st.sampled_from(["192.0.2.1", "192.0.2.2"])
REMOTES = st.lists(st.builds(Remote, ADDRESSES, VTEPS, balancer=st.booleans()), max_size=8).map(tuple)


@given(st.lists(REMOTES, min_size=2, max_size=5))
def test_a_change_makes_what_a_beginning_would(tables: list[tuple[Remote, ...]]) -> None:
    """Also where, by somebody's mistake, two have the same address."""
    before = None
    for remotes in tables:
        before = reached(remotes, before)
        fresh = reached(remotes, None)
        assert (before.remotes, before.neighbours, before.forwarding) == (fresh.remotes, fresh.neighbours, fresh.forwarding)
        assert (before.balancers, before.vteps) == (fresh.balancers, fresh.vteps)


def test_what_has_not_changed_is_the_same_object() -> None:
    some = tuple(Remote(f"10.0.0.{n}", "192.0.2.1") for n in range(2, 200))
    first = reached(some, None)
    assert reached(some[:100] + some[100:], first) is first
    second = reached(some[:50] + some[51:], first)
    assert first.neighbours - second.neighbours == {one for one in first.neighbours if one.address == some[50].address}
    assert len(first.forwarding - second.forwarding) == 2
