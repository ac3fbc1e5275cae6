"""One node's eyes on one probe: in each of its namespaces a packet socket on all links, and nftables' own word on every rule that the probe meets.

Owns those sockets, and a table of its own per namespace that marks the probe for tracing; the kernel takes such a table away with the socket that made it,
so that nothing stays, whatever happens. Reads all else. Sources: packet(7), nft(8) (flags owner, meta nftrace).
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from netfabric.handles import Handles
from netfabric.netlink import ipvs, netns
from netfabric.netlink.nftables import Nftables, NftablesError
from netfabric.netlink.nftrace import Step, Tracer
from netfabric.netlink.socket_filter import attach
from netfabric.observe import dump, seen_forwarding
from netfabric.probe.frames import SNAP_OCTETS, Passage, passage, socket_filter
from netfabric.state import NODE

TABLE: Final = "festoon-trace-"
"""How the names of our tables begin; each watcher has one of its own, since the kernel takes its time over the one before."""
NAMESPACES_MAX: Final = 512
PASSAGES_MAX: Final = 4096
"""Of all namespaces, for one probe."""
_TRACED: Final = "meta nftrace set 1"
_INNER: Final = 8 + 8 + 14
"""Octets from a UDP header to the network header of the frame inside VXLAN: the headers of UDP, VXLAN and Ethernet."""
_ETH_P_ALL, _OUTGOING = 0x0003, 4
_SO_TIMESTAMPNS = 35
_HANDLE: Final = re.compile(r"^\t\t(.*) # handle (\d+)$")
_CHAIN: Final = re.compile(r"^\tchain (\S+) \{")
_COUNTER: Final = re.compile(r"(?:^| )counter packets \d+ bytes \d+")


@dataclass(frozen=True, slots=True)
class Probe:
    """What to look for: echo requests with this key, or (`ports` given) first packets of TCP connections to these ports."""

    key: int = 0
    ports: tuple[int, ...] = ()

    def rules(self, vxlan_port: int = 0) -> Iterator[str]:
        """nftables' rules that mark it for tracing; with the port also inside VXLAN, which only the node's own namespace sees."""
        ports = f"{{ {', '.join(map(str, sorted(set(self.ports))))} }}"
        if self.ports:
            yield f"tcp flags & (syn | ack) == syn tcp dport {ports} {_TRACED}"
        else:
            yield f"icmp type echo-request @th,64,64 {self.key:#x} {_TRACED}"
            yield f"icmpv6 type echo-request @th,64,64 {self.key:#x} {_TRACED}"
        for protocol_at, protocol, header in ((_INNER + 9, 6, _INNER + 20), (_INNER + 6, 6, _INNER + 40)) if vxlan_port and self.ports else ():
            inner = f"@th,{8 * protocol_at},8 {protocol} @th,{8 * (header + 13)},8 & 0x12 == 0x2 @th,{8 * (header + 2)},16 {ports}"
            yield f"udp dport {vxlan_port} {inner} {_TRACED}"
        for header in (_INNER + 20, _INNER + 40) if vxlan_port and not self.ports else ():
            yield f"udp dport {vxlan_port} @th,{8 * (header + 8)},64 {self.key:#x} {_TRACED}"


@dataclass(frozen=True, slots=True)
class Sighting:
    time_ns: int
    namespace: str
    link: str
    outgoing: bool
    passage: Passage


@dataclass(frozen=True, slots=True)
class SeenHop:
    """A stay of the probe in one namespace. `details`: lines in the order of events."""

    time_ns: int
    namespace: str
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Ear:
    packets: socket.socket
    tracer: Tracer | None
    nftables: Nftables | None


class Watcher:
    """Watches from its making on, until it is closed."""

    def __init__(self, handles: Handles, probe: Probe, vxlan_port: int) -> None:
        """`handles` are its own from here on. Raises OSError."""
        self._handles, self._vxlan_port = handles, vxlan_port
        self._ears: dict[str, _Ear] = {}
        self._sightings: list[Sighting] = []
        try:
            for name in (NODE, *handles.names())[:NAMESPACES_MAX]:
                if handles.there(name):
                    self._ears[name] = _listen(handles.descriptor(name), probe.rules(vxlan_port if name == NODE else 0), vxlan_port)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for ear in self._ears.values():
            ear.packets.close()
            if ear.tracer is not None:
                ear.tracer.close()
            if ear.nftables is not None:
                ear.nftables.close()
        self._ears.clear()
        self._handles.__exit__(None, None, None)

    def descriptor(self, namespace: str) -> int:
        """Raises FileNotFoundError."""
        return self._handles.descriptor(namespace)

    def key_of(self, namespace: str, port: int) -> int:
        """The number of the connection that was opened from this port in the namespace; 0 when it was not seen."""
        self._look()
        return next((s.passage.key for s in self._sightings if s.namespace == namespace and s.passage.what.startswith(f"tcp {port} > ")), 0)

    async def hops(self, key: int, ipvs_family: int) -> tuple[SeenHop, ...]:
        """Where the probe with this key has been, in the order of the node's clock. Raises OSError."""
        self._look()
        mine = sorted((s for s in self._sightings if s.passage.key == key), key=lambda s: s.time_ns)
        told = {name: list(_packets(ear.tracer.heard())) for name, ear in self._ears.items() if ear.tracer is not None}
        found = []
        groups = [(namespace, list(some)) for namespace, some in groupby(mine, key=lambda s: s.namespace)]
        last = {namespace: number for number, (namespace, _) in enumerate(groups)}
        for number, (namespace, group) in enumerate(groups):
            arrived = [s for s in group if not s.outgoing] or group[:1]
            left = [s for s in group if s not in arrived]
            packets = told.get(namespace, [])
            rules = [step for steps in (packets if number == last[namespace] else packets[:1]) for step in steps]
            told[namespace] = packets[1:]
            lines = [*map(_line, arrived), *self._rules(namespace, rules), *map(_line, left)]
            lines += [line for s in (left or arrived)[-1:] for line in await self._where_to(namespace, s, ipvs_family)]
            found.append(SeenHop(group[0].time_ns, namespace, tuple(dict.fromkeys(lines))))
        unseen = {namespace: packets for namespace, packets in told.items() if namespace not in last}
        return (*found, *self._dropped(unseen, mine[-1].time_ns if mine else 0))

    def _dropped(self, told: Mapping[str, Sequence[Sequence[Step]]], time_ns: int) -> Iterator[SeenHop]:
        """Where no link has seen the probe, since a rule had dropped it before."""
        for namespace, packets in told.items():
            for steps in packets:
                if any(step.verdict == "drop" for step in steps):
                    yield SeenHop(time_ns, namespace, tuple(self._rules(namespace, steps)))

    def _look(self) -> None:
        for name, ear in self._ears.items():
            while len(self._sightings) < PASSAGES_MAX:
                try:
                    data, control, _, address = ear.packets.recvmsg(SNAP_OCTETS, socket.CMSG_SPACE(16))
                except OSError:  # nothing more, or the link has gone
                    break
                found = passage(data, self._vxlan_port)
                times = (struct.unpack("=qq", value) for level, kind, value in control if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS))
                seconds, nanoseconds = next(times, (0, 0))
                if found is not None:
                    self._sightings.append(Sighting(seconds * 1_000_000_000 + nanoseconds, name, address[0], address[2] == _OUTGOING, found))

    def _rules(self, namespace: str, steps: Sequence[Step]) -> Iterator[str]:
        nftables = self._ears[namespace].nftables
        texts: dict[tuple[str, str], Mapping[tuple[str, int], str]] = {}
        for step in steps:
            if step.table.startswith(TABLE) or nftables is None:
                continue
            if not step.handle:
                if step.verdict != "accept":  # that a chain lets through what none of its rules takes goes without saying
                    yield f"policy {step.family} {step.table} {step.chain}: {step.verdict}"
                continue
            table = (step.family, step.table)
            if table not in texts:
                texts[table] = _handles_of(nftables, *table)
            text = texts[table].get((step.chain, step.handle), f"handle {step.handle}")
            yield f"rule {step.family} {step.table} {step.chain}: {text} -> {step.verdict}"

    async def _where_to(self, namespace: str, last: Sighting, ipvs_family: int) -> list[str]:
        """What decided where it went on: the forwarding entry of its MAC, and on a node with IPVS the service with its server."""
        seen = await dump(self._handles, namespace) if namespace != NODE else None
        tunnels = {link.index: link.name for link in seen.links if link.kind == "vxlan"} if seen is not None else {}
        lines = []
        for index, mac, vtep in seen_forwarding(seen.forwarding) if seen is not None and tunnels else ():
            if mac == last.passage.mac and vtep and index in tunnels:
                lines.append(f"fdb {mac} dev {tunnels[index]} dst {vtep} self permanent")
                lines.append(f"neighbour {last.passage.target} lladdr {mac} dev {tunnels[index]} permanent")
        if ipvs_family and namespace not in (NODE, *tunnels.values()):
            lines += await self._balanced(namespace, last.passage.target, ipvs_family)
        return lines

    async def _balanced(self, namespace: str, server: str, family: int) -> list[str]:
        generic = self._handles.generic(namespace)
        (answer,) = await generic.request(ipvs.dump_services(family))
        lines = []
        for service in ipvs.services_of(answer):
            (answer,) = await generic.request(ipvs.dump_servers(family, service.mark, ipv6=service.ipv6))
            lines += [
                f"ipvs FWM {service.mark} {service.scheduler} -> {one.address} Masq weight {one.weight} connections {one.connections}"
                for one in ipvs.servers_of(answer)
                if one.address == server
            ]
        return lines


def _listen(namespace: int, tracing: Iterator[str], vxlan_port: int) -> _Ear:
    with netns.in_namespace(namespace):
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ALL))
    tracer, nftables = None, None
    try:
        packets.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        attach(packets.setsockopt, socket_filter(vxlan_port))
        with contextlib.suppress(OSError, NftablesError):  # a kernel that can't trace still shows its packets
            tracer, nftables = Tracer(namespace), Nftables(namespace)
            rules = "\n".join(tracing)
            chains = "".join(f"chain {hook} {{ type filter hook {hook} priority -500;\n{rules}\n}}\n" for hook in ("prerouting", "output"))
            nftables.run(f"table inet {TABLE}{os.urandom(4).hex()} {{\nflags owner\n{chains}}}\n")
    except OSError:
        packets.close()
        raise
    return _Ear(packets, tracer, nftables)


def _packets(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """The steps of each packet together, in the order in which packets came."""
    by_packet: dict[int, list[Step]] = {}
    for step in steps:
        by_packet.setdefault(step.packet, []).append(step)
    return iter(by_packet.values())


def _handles_of(nftables: Nftables, family: str, table: str) -> Mapping[tuple[str, int], str]:
    """(chain, handle) -> the rule's text, without its counter."""
    try:
        listing = nftables.run(f"list table {family} {table}", handles=True)
    except NftablesError:
        return {}
    found, chain = {}, ""
    for line in listing.splitlines():
        if begins := _CHAIN.match(line):
            chain = begins[1]
        elif rule := _HANDLE.match(line):
            found[chain, int(rule[2])] = _COUNTER.sub("", rule[1]).strip()
    return found


def _line(sighting: Sighting) -> str:
    seen = sighting.passage
    tunnel = f" in VXLAN {seen.tunnel[0]} > {seen.tunnel[1]} vni {seen.tunnel[2]}" if seen.tunnel is not None else ""
    return f"{'out' if sighting.outgoing else 'in'} {sighting.link}: {seen.source} > {seen.target} {seen.what}{tunnel}"
