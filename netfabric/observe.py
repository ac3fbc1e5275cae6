"""The kernel's networks -> State, in the words of a desired state.

Reads only. Ours are: links of the fabric's group and the other ends of their pairs, what stands on them, the
nftables table of our name, every IPVS service of a balancer's sandbox, and every file in the folder of namespaces.
Anything else in any namespace is left out, so that a diff never touches it. Sysctls and nftables texts are compared
with what is wanted, the latter as the kernel itself spells it (the wanted table is loaded into a scratch namespace
and listed).
"""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypedDict

from netfabric import encryption
from netfabric.firewall.nftables import Table, blocks, recognised, whole
from netfabric.firewall.rules import FAMILIES, TABLE
from netfabric.handles import Handles
from netfabric.indexes import Indexes
from netfabric.links.neighbours import NDA_DST, NDA_LLADDR, NUD_NOARP, NUD_PERMANENT, dump_forwarding, dump_neighbours
from netfabric.links.seen import SeenLink, number, seen_link
from netfabric.netlink import ipvs, messages, netns, policy, sysctls, xfrm
from netfabric.netlink.exchange import Answer
from netfabric.netlink.messages import attributes
from netfabric.netlink.nftables import Nftables, NftablesError
from netfabric.state import (
    FABRIC_GROUP,
    NODE,
    Address,
    Association,
    Connected,
    End,
    Forwarding,
    Guard,
    HeldPort,
    Link,
    LinkKind,
    Namespace,
    Neighbour,
    Policy,
    RealServer,
    ReturnPath,
    Route,
    State,
    Sysctl,
    Timeouts,
    VirtualService,
    port_name,
)

_NDA_MASTER = 9
_IP_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(slots=True)
class Seen:
    """What one namespace has, unfiltered."""

    links: tuple[SeenLink, ...]
    addresses: Answer
    routes: Answer
    neighbours: Answer
    forwarding: Answer


async def observe(handles: Handles, indexes: Indexes, desired: State, *, held: Iterable[HeldPort] = (), ipvs_family: int = 0) -> State:
    """Everything of ours that is there now, and fills `indexes`. Raises OSError when the kernel can't be asked."""
    seen: dict[str, Seen] = {}
    state: dict[str, Namespace] = {}
    for name in (NODE, *handles.names()):
        if handles.there(name):
            seen[name] = await dump(handles, name)
        elif name not in desired:
            state[name] = Namespace()  # an empty file that a crash left: there to be removed
    ours = _ours({name: one.links for name, one in seen.items()})
    with _Scratch() as scratch:
        for name, one in seen.items():
            numbers = {link.name: number for number, link in ours[name].items()}
            taken = [link.index for link in one.links if name != NODE or link.group == FABRIC_GROUP]
            indexes.learn(name, numbers, max(taken, default=0))
            wanted = desired.get(name, Namespace())
            services, servers, timeouts = await seen_services(handles, name, wanted, ipvs_family)
            state[name] = Namespace(
                links=tuple(ours[name].values()),
                addresses=tuple(a for a in _addresses(one.addresses, ours[name]) if not wanted.shared or a in wanted.addresses),
                severed=tuple(_severed(one, ours[name], wanted.addresses)),
                routes=tuple(r for r in _routes(one.routes, ours[name]) if not wanted.shared or r in wanted.routes),
                returns=await _returns(handles, name, ours[name]) if name != NODE else frozenset(),
                neighbours=frozenset(_neighbours(one.neighbours, ours[name])),
                forwarding=frozenset(_forwarding(one.forwarding, ours[name])),
                sysctls=seen_sysctls(handles.descriptor(name), wanted.sysctls),
                tables=_tables(handles.nftables(name), wanted.tables, scratch),
                services=services,
                servers=servers,
                timeouts=timeouts,
                shared=wanted.shared,
                targets=wanted.targets,  # a connection says nothing of what was wanted
                ports=frozenset(held) if name == NODE else frozenset(),
            )
            if name == NODE:
                state[name] = dataclasses.replace(state[name], guard=_guard(handles.nftables(name), wanted.guard, scratch), **await _secrets(handles))
    return state


async def dump(handles: Handles, name: str) -> Seen:
    """Reads one namespace. Raises OSError."""
    socket_ = handles.route(name)
    (links,) = await socket_.request(messages.dump_links())
    parsed = tuple(seen_link(payload) for _, payload in links)
    (addresses,) = await socket_.request(messages.dump_addresses())
    (routes,) = await socket_.request(messages.dump_routes(), tolerate={errno.ENOENT})  # no table before a first route
    neighbours: Answer = ()
    forwarding: Answer = ()
    if any(link.kind == "vxlan" for link in parsed):
        (neighbours,) = await socket_.request(dump_neighbours())
        (forwarding,) = await socket_.request(dump_forwarding())
    return Seen(parsed, addresses, routes, neighbours, forwarding)


def _ours(seen: Mapping[str, tuple[SeenLink, ...]]) -> dict[str, dict[int, Link]]:
    """Our links by namespace and number. A pair is known by the name of its end on a bridge and by both ends'
    numbers.
    """
    ends = {port_name(name, link.name): (name, link) for name, links in seen.items() for link in links if link.kind == "veth" and name != NODE}
    ours: dict[str, dict[int, Link]] = {name: {} for name in seen}
    for name, links in seen.items():
        by_number = {link.index: link for link in links}
        for link in links:
            if link.index == messages.LOOPBACK_INDEX and name != NODE:
                ours[name][link.index] = Link(link.name, LinkKind.LOOPBACK, up=link.up)
            elif link.group == FABRIC_GROUP and link.kind in {"bridge", "vxlan", "veth"}:
                master = by_number[link.master].name if link.master in by_number else ""
                ours[name][link.index] = _as_wanted(link, master)
                namespace, other = ends.get(link.name, ("", None))
                if link.kind == "veth" and other and (other.other_end, link.other_end) == (link.index, other.index):
                    peer = Link(other.name, LinkKind.PEER, mtu=other.mtu, mac=other.mac, up=other.up)
                    ours[namespace][other.index] = peer
                    ours[name][link.index] = _as_wanted(link, master, End(namespace, other.name, other.mac))
    return ours


def _as_wanted(link: SeenLink, master: str, peer: End | None = None) -> Link:
    """A link with what a plan speaks of for its kind; the rest is the kernel's."""
    kind = LinkKind(link.kind)
    return Link(
        link.name,
        kind,
        mtu=0 if kind is LinkKind.BRIDGE else link.mtu,
        mac=link.mac if kind is LinkKind.BRIDGE else "",
        master=master,
        peer=peer,
        vni=link.vni,
        port=link.port,
        learning=link.learning,
        isolated=link.isolated,
        hairpin=link.hairpin,
        up=link.up,
    )


def seen_addresses(answer: Answer) -> Iterable[tuple[int, str]]:
    """(number of the link, CIDR) of a dump of addresses; without those that IPv6 makes by itself for a link."""
    for _, payload in answer:
        family, prefix, _, scope, index = struct.unpack_from("=BBBBi", payload)
        found = dict(attributes(payload, 8))
        address = found.get(messages.IFA_LOCAL) or found.get(messages.IFA_ADDRESS)
        if address is not None and (family == socket.AF_INET or scope == messages.RT_SCOPE_UNIVERSE):
            yield index, f"{messages.address_text(address)}/{prefix}"


def _addresses(answer: Answer, ours: Mapping[int, Link]) -> Iterable[Address]:
    for index, cidr in seen_addresses(answer):
        if index in ours and ours[index].kind is not LinkKind.LOOPBACK:
            yield Address(ours[index].name, cidr)


def _routes(answer: Answer, ours: Mapping[int, Link]) -> Iterable[Route]:
    for _, payload in answer:
        family, prefix, _, _, table, protocol, _, _, _ = struct.unpack_from("=BBBBBBBBI", payload)
        if family not in _IP_FAMILIES:
            continue
        found = dict(attributes(payload, 12))
        index = number(found.get(messages.RTA_OIF, b""))
        if table == messages.RT_TABLE_MAIN and protocol == messages.RTPROT_STATIC and index in ours:
            destination = f"{messages.address_text(found[messages.RTA_DST])}/{prefix}" if prefix else "default"
            gateway = messages.address_text(found[messages.RTA_GATEWAY]) if messages.RTA_GATEWAY in found else ""
            yield Route(ours[index].name, destination, gateway)


def _severed(seen: Seen, ours: Mapping[int, Link], wanted: Iterable[Address]) -> Iterable[Connected]:
    """The routes that wanted addresses had made, and that are gone."""
    there = set(_addresses(seen.addresses, ours))
    found = set()
    for _, payload in seen.routes:
        prefix, table = payload[1], payload[4]
        values = dict(attributes(payload, 12))
        index = number(values.get(messages.RTA_OIF, b""))
        if table == messages.RT_TABLE_MAIN and index in ours and messages.RTA_DST in values:
            found.add((ours[index].name, f"{messages.address_text(values[messages.RTA_DST])}/{prefix}"))
    for one in wanted:
        network = ipaddress.ip_interface(one.cidr).network
        if one in there and network.prefixlen < network.max_prefixlen and (one.link, str(network)) not in found:
            yield Connected(one.link, one.cidr)


def _neighbours(answer: Answer, ours: Mapping[int, Link]) -> Iterable[Neighbour]:
    for _, payload in answer:
        family, index, state, _, _ = struct.unpack_from("=BxxxiHBB", payload)
        if family not in _IP_FAMILIES:
            continue
        found = dict(attributes(payload, 12))
        if state & NUD_PERMANENT and index in ours and ours[index].kind is LinkKind.VXLAN and NDA_LLADDR in found:
            yield Neighbour(ours[index].name, messages.address_text(found[NDA_DST]), messages.mac_text(found[NDA_LLADDR]))


def seen_forwarding(answer: Answer) -> Iterable[tuple[int, str, str]]:
    """(number of the link, MAC, VTEP) of a dump of forwarding entries: VXLAN links' own, and with an empty VTEP a
    bridge's static ones.
    """
    for _, payload in answer:
        _, index, state, _, _ = struct.unpack_from("=BxxxiHBB", payload)
        found = dict(attributes(payload, 12))
        mac = messages.mac_text(found.get(NDA_LLADDR, b""))
        if NDA_DST in found:
            yield index, mac, messages.address_text(found[NDA_DST])
        elif _NDA_MASTER in found and state & NUD_NOARP:
            yield index, mac, ""


def _forwarding(answer: Answer, ours: Mapping[int, Link]) -> Iterable[Forwarding]:
    for index, mac, vtep in seen_forwarding(answer):
        if index in ours and ours[index].kind is LinkKind.VXLAN:
            yield Forwarding(ours[index].name, mac, vtep)


def seen_sysctls(namespace: int, wanted: Iterable[Sysctl]) -> tuple[Sysctl, ...]:
    """The wanted ones with the values that they have; those that are not there are missing, but for optional ones."""
    found = []
    with netns.in_namespace(namespace):
        for sysctl in wanted:
            try:
                value = sysctls.read(sysctl.key)
            except OSError:
                if sysctl.optional:
                    found.append(sysctl)
                continue
            found.append(sysctl if value.split() == sysctl.value.split() else Sysctl(sysctl.key, value))
    return tuple(found)


class _Scratch:
    """A namespace of its own in which wanted tables are loaded, to read how the kernel spells them."""

    def __init__(self) -> None:
        self._namespace = netns.create_anonymous()
        self._nftables = Nftables(self._namespace)

    def __enter__(self) -> _Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self._nftables.close()
        os.close(self._namespace)

    def told(self, commands: str, what: str) -> str:
        """How the kernel lists `what` after these commands."""
        self._nftables.run(commands)
        listing = self._nftables.run(f"list {what}", stateless=True)
        self._nftables.run(f"delete {what}")
        return listing

    def spelled(self, table: Table) -> str:
        self._nftables.run(whole(table))
        listing = self._nftables.run(f"list table {table.family} {table.name}", stateless=True)
        self._nftables.run(f"delete table {table.family} {table.name}")
        return listing


def _tables(nftables: Nftables, wanted: tuple[Table, ...], scratch: _Scratch) -> tuple[Table, ...]:
    by_family = {table.family: table for table in wanted}
    found = []
    for family in FAMILIES:
        try:
            listing = nftables.run(f"list table {family} {TABLE}", stateless=True)
        except NftablesError:
            continue
        table = by_family.get(family)
        if table is None:
            found.append(Table(TABLE, family=family))
        else:
            spelled = scratch.spelled(table)
            found.append(table if spelled == listing else recognised(table, blocks(spelled), blocks(listing)))
    return tuple(found)


async def _returns(handles: Handles, name: str, ours: Mapping[int, Link]) -> frozenset[ReturnPath]:
    """Rules by mark and the routes they lead to; of a pair that has lost one, the other is told as not whole."""
    (rules,) = await handles.route(name).request(policy.dump_rules())  # a socket carries out one dump at a time
    (routes,) = await handles.route(name).request(policy.dump_tables())
    tables = {table: (ours[index].name if index in ours else "", gateway) for table, index, gateway in policy.seen_routes(routes)}
    marks = {table: mark for mark, table in policy.seen_rules(rules)}
    found = set()
    for table in tables.keys() | marks.keys():
        link, gateway = tables.get(table, ("", str(ipaddress.IPv4Address(table))))
        path = ReturnPath(link, gateway)
        whole = (path.mark, path.table) == (marks.get(table), table) and table in tables
        found.add(path if whole else ReturnPath(link, gateway, whole=False))
    return frozenset(found)


def _guard(nftables: Nftables, wanted: Guard | None, scratch: _Scratch) -> Guard | None:
    """The wanted one where it is as wanted; anything else of its name is a guard of nothing, to be replaced."""
    try:
        listing = nftables.run(f"list table ip {encryption.TABLE}", stateless=True)
    except NftablesError:
        return None
    if wanted is not None and scratch.told(encryption.commands(wanted), f"table ip {encryption.TABLE}") == listing:
        return wanted
    return Guard(0, False, frozenset())


class _Ipsec(TypedDict):
    associations: frozenset[Association]
    policies: frozenset[Policy]


async def _secrets(handles: Handles) -> _Ipsec:
    """Ours of the node's associations and policies; none on a kernel without IPsec."""
    try:
        (associations,) = await handles.xfrm(NODE).request(xfrm.dump_associations())
        (policies,) = await handles.xfrm(NODE).request(xfrm.dump_policies())
    except OSError:
        return {"associations": frozenset(), "policies": frozenset()}
    return {"associations": frozenset(xfrm.associations_of(associations)), "policies": frozenset(xfrm.policies_of(policies))}


async def seen_services(
    handles: Handles, name: str, wanted: Namespace, family: int
) -> tuple[tuple[VirtualService, ...], frozenset[RealServer], Timeouts | None]:
    """What IPVS has in a balancer's sandbox; nothing of another namespace, or without IPVS (`family` 0). Raises OSError."""
    if not family or wanted.timeouts is None:  # no balancer's sandbox
        return (), frozenset(), None
    generic = handles.generic(name)
    answer, configured = await generic.request(ipvs.dump_services(family), ipvs.get_timeouts(family))
    idle = ipvs.timeouts_of(configured)
    services = ipvs.services_of(answer)
    servers: frozenset[RealServer] = frozenset()
    for service in services:
        servers |= await seen_servers(handles, name, service.mark, ipv6=service.ipv6, family=family)
    timeouts = Timeouts(*idle) if idle is not None else None
    return tuple(VirtualService(one.mark, one.scheduler, one.ipv6) for one in services), servers, timeouts


async def seen_servers(handles: Handles, name: str, mark: int, *, ipv6: bool, family: int) -> frozenset[RealServer]:
    """Of one of IPVS's services; none where there is no such service. Raises OSError."""
    (answer,) = await handles.generic(name).request(ipvs.dump_servers(family, mark, ipv6=ipv6))
    return frozenset(RealServer(mark, one.address, one.weight) for one in ipvs.servers_of(answer))
