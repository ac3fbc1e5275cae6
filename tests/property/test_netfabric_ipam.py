"""No address is given twice, and every subnet cut is free of what was taken."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from netfabric.ipam import PoolExhausted, allocate, cut, pool, release


@given(st.lists(st.one_of(st.booleans(), st.integers(0, 20)), max_size=60))
def test_live_addresses_are_different(steps: list[bool | int]) -> None:
    """A boolean allocates (serially or not), a number releases the one in that place."""
    some, live = pool("10.0.1.0/28", reserved=["10.0.1.1"]), []
    for step in steps:
        if isinstance(step, bool):
            try:
                some, address = allocate(some, serial=step)
            except PoolExhausted:
                assert len(live) == 13
                continue
            assert address not in live
            live.append(address)
        elif live:
            some = release(some, live.pop(step % len(live)))
    assert some.free() == 13 - len(live)


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(22, 28)), max_size=12),
    st.integers(20, 28),
)
def test_a_cut_subnet_overlaps_nothing_and_is_the_first_such(taken: list[tuple[int, int]], prefix: int) -> None:
    used = [ipaddress.IPv4Network((int(ipaddress.IPv4Address("10.0.0.0")) + third * 256, p), strict=False) for third, p in taken]
    whole = ipaddress.IPv4Network("10.0.0.0/16")
    free = [s for s in whole.subnets(new_prefix=prefix) if not any(s.overlaps(u) for u in used)]
    try:
        got = cut([str(whole)], prefix, [str(u) for u in used])
    except PoolExhausted:
        assert not free
    else:
        assert got == str(free[0])
