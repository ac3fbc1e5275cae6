"""Pools of addresses of either family, and the cutting of large IPv4 ones into subnets. Pure: a pool is a value, every
change makes a new one.

Used by the agent for its bridges and by the manager for overlays. Allocation is deterministic: the lowest free
address, or the lowest one after the last given (round again at the end), which keeps an address that was just
released out of use for as long as it goes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


class PoolError(ValueError):
    """An address or subnet that can't be had; the text says why."""


class PoolExhausted(PoolError):
    pass


class AddressTaken(PoolError):
    pass


@dataclass(frozen=True)
class Pool:
    """The addresses of one subnet. `taken` and `last` are numbers within the subnet (0 is its network address), `given`
    the first number that is given out by itself and the one after the last.
    """

    subnet: Subnet
    taken: frozenset[int] = frozenset()
    last: int = 0
    given: tuple[int, int] = (0, 0)

    def cidr(self, address: str) -> str:
        """ "10.0.1.8" -> "10.0.1.8/24"."""
        return f"{address}/{self.subnet.prefixlen}"

    def holds(self, address: str) -> bool:
        """Whether the address is taken. Raises PoolError when it is not of this subnet."""
        return self._number(address) in self.taken

    def free(self) -> int:
        """How many addresses can still be had."""
        first, end = self.given
        return end - first - sum(1 for number in self.taken if first <= number < end)

    def _number(self, address: str) -> int:
        parsed = ipaddress.ip_address(address)
        if parsed not in self.subnet:
            raise PoolError(f"address {address} is not in subnet {self.subnet}")
        return int(parsed) - int(self.subnet.network_address)


def pool(subnet: str, *, reserved: Iterable[str] = (), part: str = "") -> Pool:
    """A pool of the subnet ("10.0.1.0/24") without the plain addresses in `reserved` (gateways); what is not asked for
    by name comes from `part` of it ("10.0.1.128/25"). Raises PoolError for a subnet that is none.
    """
    whole = network(subnet) if ":" not in subnet else _network6(subnet)
    empty = Pool(whole, given=_given(whole, part))
    return replace(empty, taken=frozenset(empty._number(address) for address in reserved))


def _given(whole: Subnet, part: str) -> tuple[int, int]:
    first, end = _range(whole)
    if not part:
        return first, end
    some = ipaddress.ip_network(part, strict=False)
    start = int(some.network_address) - int(whole.network_address)
    return max(first, start), min(end, start + some.num_addresses)


def network(subnet: str) -> ipaddress.IPv4Network:
    """Raises PoolError when the text is no IPv4 subnet, or has bits beyond its prefix."""
    try:
        return ipaddress.IPv4Network(subnet)
    except ValueError as error:
        raise PoolError(f"invalid subnet {subnet}: {error}") from error


def _network6(subnet: str) -> ipaddress.IPv6Network:
    try:
        return ipaddress.IPv6Network(subnet)
    except ValueError as error:
        raise PoolError(f"invalid subnet {subnet}: {error}") from error


def _range(subnet: Subnet) -> tuple[int, int]:
    """The numbers that hosts may have: not the network's (IPv6: the routers') and the broadcast address."""
    if subnet.prefixlen >= subnet.max_prefixlen - 1:
        return 0, subnet.num_addresses
    return 1, subnet.num_addresses - 1


def allocate(pool: Pool, *, serial: bool = False) -> tuple[Pool, str]:
    """The lowest free address (plain), or with `serial` the lowest one after the last given. Raises PoolExhausted."""
    first, end = pool.given
    start = max(first, pool.last + 1) if serial else first
    for numbers in (range(start, end), range(first, min(start, end))):
        for number in numbers:
            if number not in pool.taken:
                return _with(pool, number), str(pool.subnet[number])
    raise PoolExhausted(f"no address is left in subnet {pool.subnet}")


def take(pool: Pool, address: str) -> Pool:
    """Takes a given address. Raises AddressTaken, or PoolError when it is not of this subnet or not a host's."""
    number = pool._number(address)
    first, end = _range(pool.subnet)
    if not first <= number < end:
        raise PoolError(f"address {address} can't be given to a host of subnet {pool.subnet}")
    if number in pool.taken:
        raise AddressTaken(f"address {address} is already in use")
    return _with(pool, number)


def release(pool: Pool, address: str) -> Pool:
    """Gives an address back; one that was not taken is no error. Raises PoolError when it is not of this subnet."""
    return replace(pool, taken=pool.taken - {pool._number(address)})


def _with(pool: Pool, number: int) -> Pool:
    return replace(pool, taken=pool.taken | {number}, last=number)


def cut(pools: Iterable[str], prefix_length: int, taken: Iterable[str]) -> str:
    """The first subnet of that size in the pools ("10.0.0.0/8" into /24) that overlaps none of `taken`. Raises
    PoolExhausted.

    Work grows with the number of taken subnets, not with that of possible ones.
    """
    used = sorted((network(one) for one in taken), key=lambda one: int(one.network_address))
    for one in pools:
        whole = network(one)
        if prefix_length < whole.prefixlen:
            raise PoolError(f"a pool of {whole} can't be cut into subnets of /{prefix_length}")
        for candidate in _gaps(whole, prefix_length, used):
            return str(candidate)
    raise PoolExhausted("no subnet is left in the address pools")


def _gaps(whole: ipaddress.IPv4Network, prefix_length: int, used: list[ipaddress.IPv4Network]) -> Iterator[ipaddress.IPv4Network]:
    """Subnets of that size at the start of each gap between used ones (sorted by address)."""
    size = 1 << (32 - prefix_length)
    position, end = int(whole.network_address), int(whole.broadcast_address) + 1
    for one in used:
        start, after = int(one.network_address), int(one.broadcast_address) + 1
        if after <= position or start >= end:
            continue
        if start >= position + size:
            break
        position = max(position, (after + size - 1) // size * size)
    if position + size <= end:
        yield ipaddress.IPv4Network((position, prefix_length))
