"""Addresses as the plans write them. Pure."""

from __future__ import annotations

from functools import lru_cache

from netfabric.links.veth import ADDRESSES_KEPT, mac_of
from netfabric.view import Interface


@lru_cache(maxsize=ADDRESSES_KEPT)
def plain(cidr: str) -> str:
    """ "10.0.1.8/24" -> "10.0.1.8"."""
    return cidr.partition("/")[0]


def with_prefix(address: str, subnet: str) -> str:
    """("10.0.1.1", "10.0.1.0/24") -> "10.0.1.1/24"; empty without an address."""
    return f"{address}/{subnet.partition('/')[2]}" if address else ""


def mac(interface: Interface) -> str:
    return interface.mac or mac_of(plain(interface.address))
