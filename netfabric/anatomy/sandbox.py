"""What every sandbox has, and what a container's has beside that. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

from netfabric.anatomy.addresses import mac, plain
from netfabric.firewall import resolver
from netfabric.firewall.nftables import Table
from netfabric.firewall.rules import TABLE, task_table
from netfabric.state import Address, Link, LinkKind, Namespace, ReturnPath, Route, Sysctl
from netfabric.view import Interface, Sandbox

LOOPBACK = Link("lo", LinkKind.LOOPBACK)
NO_IPV6 = (
    Sysctl("net.ipv6.conf.all.disable_ipv6", "1", optional=True),
    Sysctl("net.ipv6.conf.default.disable_ipv6", "1", optional=True),
)
IPV6 = (
    Sysctl("net.ipv6.conf.all.disable_ipv6", "0", optional=True),
    Sysctl("net.ipv6.conf.default.disable_ipv6", "0", optional=True),
)
UNPRIVILEGED = (
    Sysctl("net.ipv4.ip_unprivileged_port_start", "0", optional=True),
    Sysctl("net.ipv4.ping_group_range", "0\t2147483647", optional=True),
)
"""A sandbox's programs bind any port of it and may ping without rights of their own: Docker's default since 20.10."""
RETURNING = (Sysctl("net.ipv4.tcp_fwmark_accept", "1", optional=True),)
"""An accepted connection's packets carry the mark of the one that opened it."""


class Kind(NamedTuple):
    """One interface of a sandbox, with what follows from its network. `beside`: further subnets (CIDR) of the same link."""

    interface: Interface
    mtu: int
    beside: tuple[str, ...]


def kinds_of(sandbox: Sandbox, sizes: Mapping[str, int], subnets: Mapping[str, tuple[str, ...]]) -> tuple[Kind, ...]:
    return tuple(Kind(i, sizes[i.network], _beside(i.address, subnets.get(i.network, ()))) for i in sandbox.interfaces)


def _beside(address: str, subnets: tuple[str, ...]) -> tuple[str, ...]:
    """The subnets of the same link that this address is not of."""
    if len(subnets) < 2:
        return ()
    own = str(ipaddress.ip_interface(address).network)
    return tuple(subnet for subnet in subnets if subnet != own)


def base(kinds: tuple[Kind, ...]) -> Namespace:
    """What every sandbox has: its links, addresses and the way out."""
    ways_out = (Route(k.interface.name, "default", g) for k in kinds for g in (k.interface.default_gateway, k.interface.default_gateway6) if g)
    return Namespace(
        links=(LOOPBACK, *(Link(k.interface.name, LinkKind.PEER, mtu=k.mtu, mac=mac(k.interface)) for k in kinds)),
        addresses=tuple(Address(i.name, cidr) for i, *_ in kinds for cidr in (i.address, i.address6, *i.further) if cidr),
        routes=(*ways_out, *(Route(k.interface.name, subnet) for k in kinds for subnet in k.beside)),
        sysctls=IPV6 if any(k.interface.address6 for k in kinds) else NO_IPV6,
    )


def planned_task(_name: str, sandbox: Sandbox, kinds: tuple[Kind, ...], on_ingress: Interface | None, ways_back: tuple[str, ...]) -> Namespace:
    common = base(kinds)
    chains = resolver.CHAINS if sandbox.resolver else ()
    if on_ingress is not None and sandbox.ingress_ports:
        chains = (*task_table(on_ingress.name, plain(on_ingress.address), sandbox.ingress_ports).chains, *chains)
        common = dataclasses.replace(
            common,
            sysctls=(*common.sysctls, *RETURNING, *(Sysctl(f"net.ipv4.conf.{link}.rp_filter", "0") for link in ("all", on_ingress.name))),
            returns=frozenset(ReturnPath(on_ingress.name, address) for address in ways_back),
        )
    own = (Sysctl(key, value) for key, value in sandbox.sysctls if key.startswith("net."))
    return dataclasses.replace(
        common,
        sysctls=tuple({one.key: one for one in (*common.sysctls, *UNPRIVILEGED, *own)}.values()),
        tables=(Table(TABLE, chains),) if chains else (),
        shared=True,
    )
