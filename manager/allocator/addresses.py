"""Addresses of overlay networks: which are taken, and which comes next.

Owns the claims per network (reference counts, so that taking in and undoing are symmetric) and the place where the
last one was given; never decides who gets one. A claim stands as long as an object that names the address is in the
index and may still run. The next address is the lowest free one after the last given, around the ring, as
libnetwork's sequential allocation does, so that an address rests before it is used again. Of a network with several
subnets the first that has a free address gives it. Only IPv4 addresses are claimed: an IPv6 address is the twin of one
(cluster/model/twins.py).
"""

from __future__ import annotations

import ipaddress

import msgspec

from cluster.model.ids import NetworkId
from cluster.model.objects import Network
from cluster.model.twins import origin


def to_number(text: str) -> int:
    """The number of "10.0.1.8" or "10.0.1.8/24"."""
    a, b, c, d = text.partition("/")[0].split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def to_text(number: int) -> str:
    """A number as dotted quad."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Pool(msgspec.Struct, frozen=True):
    """What may be given out of one subnet of a network: first to last, but not the reserved (gateway, auxiliary addresses); by
    name also the rest, from lowest to highest."""

    first: int
    last: int
    prefix: int
    reserved: frozenset[int]
    lowest: int
    highest: int


def pools_of(network: Network) -> tuple[Pool, ...]:
    """The addresses that an allocated network gives out, subnet by subnet; none while it has no subnet."""
    if not network.subnet:
        return ()
    return (_pool(network, network.subnet, network.gateway), *(_pool(network, one.subnet, one.gateway) for one in network.further))


def _pool(network: Network, text: str, gateway: str) -> Pool:
    subnet = ipaddress.IPv4Network(text)
    reserved = {to_number(gateway)} if gateway else set()
    lowest, highest = first, last = int(subnet.network_address) + 1, int(subnet.broadcast_address) - 1
    for config in network.spec.ipam:
        if config.subnet and ":" not in config.subnet and ipaddress.ip_network(config.subnet, strict=False) == subnet:
            reserved.update(to_number(address) for _, address in config.reserved)
            if config.ip_range:
                part = ipaddress.IPv4Network(config.ip_range, strict=False)
                first = max(first, int(part.network_address))
                last = min(last, int(part.broadcast_address))
    reserved.update(_twins_reserved(network))
    return Pool(first, last, subnet.prefixlen, frozenset(reserved), lowest, highest)


def _twins_reserved(network: Network) -> set[int]:
    """The numbers whose twins are the IPv6 gateway, or addresses that its user keeps."""
    if not network.subnet6:
        return set()
    kept = [address for config in network.spec.ipam if ":" in config.subnet for _, address in config.reserved]
    origins = (origin(network, address) for address in (*kept, network.gateway6) if address)
    return {to_number(address) for address in origins if address}


class AddressBook:
    """Claims on addresses by network. Owned by the index: only taking objects in and out changes the claims."""

    def __init__(self) -> None:
        self.used: dict[NetworkId, dict[int, int]] = {}
        self.last: dict[NetworkId, int] = {}
        self._pools: dict[NetworkId, tuple[Pool, ...]] = {}
        self._full: dict[NetworkId, int] = {}  # so many of its pools were searched in vain, and nothing has been released since

    def set_network(self, network_id: NetworkId, network: Network | None) -> None:
        """A network appeared, changed or went."""
        self._full.pop(network_id, None)
        pools = pools_of(network) if network is not None else ()
        if not pools:
            self._pools.pop(network_id, None)
            self.last.pop(network_id, None)
        else:
            self._pools[network_id] = pools

    def claim(self, network_id: NetworkId, address: str, *, asked: bool = False) -> None:
        """One more holder of the address; `asked`: its user chose it, so that the next one given does not follow it."""
        number = to_number(address)
        used = self.used.setdefault(network_id, {})
        used[number] = used.get(number, 0) + 1
        if not asked:
            self.last[network_id] = number

    def release(self, network_id: NetworkId, address: str) -> None:
        number = to_number(address)
        self._full.pop(network_id, None)
        used = self.used[network_id]
        if used[number] == 1:
            del used[number]
            if not used:
                del self.used[network_id]
        else:
            used[number] -= 1

    def asked(self, network_id: NetworkId, address: str) -> str | None:
        """This plain address in CIDR form; None when it is taken, reserved, or not a host's of this network."""
        number = to_number(address)
        pool = next((one for one in self._pools.get(network_id, ()) if one.lowest <= number <= one.highest), None)
        if pool is None or number in self.used.get(network_id, {}) or number in pool.reserved:
            return None
        return f"{to_text(number)}/{pool.prefix}"

    def has_free(self, network_id: NetworkId, number: int) -> bool:
        """Whether so many addresses of this network are not claimed."""
        pools, used = self._pools.get(network_id, ()), self.used.get(network_id, {})
        if sum(pool.last - pool.first + 1 - len(pool.reserved) for pool in pools) - len(used) >= number:  # at least so many
            return True
        free = (pool.last - pool.first + 1 - sum(pool.first <= n <= pool.last for n in pool.reserved | used.keys()) for pool in pools)
        return sum(max(some, 0) for some in free) >= number

    def next_free(self, network_id: NetworkId) -> str | None:
        """The next address of this network in CIDR form, not yet claimed; None when all are taken, or no subnet is
        given yet."""
        used = self.used.get(network_id, {})
        full = self._full.get(network_id, 0)
        for pool in self._pools.get(network_id, ())[full:]:
            size = max(pool.last - pool.first + 1, 0)
            start = self.last.get(network_id, pool.first - 1) + 1 - pool.first
            for step in range(size):
                number = pool.first + (start + step) % size
                if number not in used and number not in pool.reserved:
                    return f"{to_text(number)}/{pool.prefix}"
            full = self._full[network_id] = full + 1
        return None
