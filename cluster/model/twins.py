"""The IPv6 side of an overlay: every endpoint there has the twin of its IPv4 address, the same host number in the network's IPv6 subnet.

So only IPv4 addresses are allocated, claimed, replicated and sent; whoever needs the other one computes it. Pure. Source: none, it is our own choice.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cluster.model.objects import Network


def has_room(subnet: str, subnet6: str) -> bool:
    """Whether every address of the IPv4 subnet has a twin in the IPv6 one."""
    return 128 - IPv6Network(subnet6).prefixlen >= 32 - IPv4Network(subnet).prefixlen


def twin(network: Network, address: str) -> str:
    """ "10.0.1.8/24" -> "fd00::8/64", "10.0.1.8" -> "fd00::8"; empty where the network has no IPv6, or there is no address."""
    if not network.subnet6 or not address:
        return ""
    plain, slash, _ = address.partition("/")
    base, base6 = _base(network)
    prefix6 = network.subnet6.partition("/")[2]
    return f"{IPv6Address(base6 + int(IPv4Address(plain)) - base)}{slash}{prefix6 if slash else ''}"


def origin(network: Network, address6: str) -> str:
    """The plain IPv4 address whose twin this plain one is; empty when there is none. Raises ValueError for what is no IPv6 address."""
    number6 = int(IPv6Address(address6))
    if not network.subnet6:
        return ""
    base, base6 = _base(network)
    number = base + number6 - base6
    inside = base <= number < base + IPv4Network(network.subnet).num_addresses
    return str(IPv4Address(number)) if inside else ""


def _base(network: Network) -> tuple[int, int]:
    return int(IPv4Address(network.subnet.partition("/")[0])), int(IPv6Address(network.subnet6.partition("/")[0]))
