"""Address pools: who gets which address."""

from __future__ import annotations

import pytest

from netfabric.ipam import AddressTaken, PoolError, PoolExhausted, allocate, cut, pool, release, take


def test_the_lowest_free_address_comes_first() -> None:
    bridge = pool("172.18.0.0/16", reserved=["172.18.0.1", "172.18.0.2"])
    bridge, first = allocate(bridge)
    bridge, second = allocate(bridge)
    bridge, again = allocate(release(bridge, first))
    assert (first, second, again) == ("172.18.0.3", "172.18.0.4", "172.18.0.3")
    assert bridge.cidr(again) == "172.18.0.3/16"


def test_serial_allocation_does_not_give_a_released_address_at_once() -> None:
    some = pool("10.0.1.0/29")
    some, first = allocate(some, serial=True)
    some, second = allocate(release(some, first), serial=True)
    assert (first, second) == ("10.0.1.1", "10.0.1.2")


def test_serial_allocation_begins_again_at_the_end() -> None:
    some = pool("10.0.1.0/30")
    some, _ = allocate(some)
    some, last = allocate(some)
    some, wrapped = allocate(release(some, "10.0.1.1"), serial=True)
    assert (last, wrapped) == ("10.0.1.2", "10.0.1.1")


def test_network_and_broadcast_addresses_are_never_given() -> None:
    some = pool("10.0.1.0/30", reserved=["10.0.1.1"])
    some, only = allocate(some)
    assert only == "10.0.1.2"
    assert some.free() == 0
    with pytest.raises(PoolExhausted, match=r"no address is left in subnet 10\.0\.1\.0/30"):
        allocate(some)
    with pytest.raises(PoolError, match="can't be given"):
        take(some, "10.0.1.3")


def test_a_given_address_can_be_taken_once() -> None:
    some = take(pool("10.0.1.0/24"), "10.0.1.77")
    assert some.holds("10.0.1.77")
    with pytest.raises(AddressTaken):
        take(some, "10.0.1.77")
    with pytest.raises(PoolError, match=r"not in subnet 10\.0\.1\.0/24"):
        take(some, "10.0.2.1")


def test_pools_are_cut_around_what_is_taken() -> None:
    assert cut(["10.0.0.0/8"], 24, []) == "10.0.0.0/24"
    assert cut(["10.0.0.0/8"], 24, ["10.0.0.0/24", "10.0.1.0/24"]) == "10.0.2.0/24"
    assert cut(["10.0.0.0/8"], 24, ["10.0.1.0/24", "172.18.0.0/16"]) == "10.0.0.0/24"
    assert cut(["10.0.0.0/8"], 24, ["10.0.0.0/16", "10.0.3.0/24"]) == "10.1.0.0/24"
    assert cut(["10.0.0.0/8"], 24, ["10.0.0.128/25"]) == "10.0.1.0/24"


def test_the_next_pool_is_used_when_one_is_full() -> None:
    assert cut(["10.0.0.0/24", "10.9.0.0/16"], 24, ["10.0.0.0/24"]) == "10.9.0.0/24"
    with pytest.raises(PoolExhausted):
        cut(["10.0.0.0/24"], 24, ["10.0.0.0/25"])


@pytest.mark.parametrize("subnet", ["10.0.0.1/24", "nonsense", "10.0.0.0/33", "fd00::/24x"])
def test_a_bad_subnet_is_told(subnet: str) -> None:
    with pytest.raises(PoolError, match="invalid subnet"):
        pool(subnet)


def test_a_pool_is_not_cut_into_larger_pieces() -> None:
    with pytest.raises(PoolError, match="can't be cut"):
        cut(["10.0.0.0/24"], 16, [])
