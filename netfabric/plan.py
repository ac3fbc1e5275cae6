"""View -> State: what every namespace of a node has to look like. Pure: no kernel, no clock, no indexes.

The anatomy is Docker's: per overlay a namespace with a bridge and a VXLAN link, a sandbox for its balancer (on the
ingress network ingress_sbox, which stands on the gateway bridge too), and a sandbox per container. A namespace
whose inputs have not changed since the plan before is that plan's value itself, so that a diff passes over it.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import itertools
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from netfabric import encryption
from netfabric.encryption import Sealing
from netfabric.firewall import resolver
from netfabric.firewall.nftables import Table
from netfabric.firewall.rules import TABLE, node_table, node_table6, task_table
from netfabric.ingress import ipvs, nft
from netfabric.ingress.rebalancing import rebalanced
from netfabric.ingress.vips import SERVICES_KEPT, on_ipv6, source_chain, targets
from netfabric.links.veth import ADDRESSES_KEPT, mac_of
from netfabric.parts import PartedSet
from netfabric.reach import OVERLAY_TUNNEL, Reach, reached
from netfabric.state import (
    NODE,
    Address,
    End,
    HeldPort,
    Link,
    LinkKind,
    Namespace,
    ReturnPath,
    Route,
    State,
    Sysctl,
    Target,
    port_name,
)
from netfabric.view import INGRESS_SANDBOX, Balancer, Bridge, HostPort, Interface, Overlay, PublishedPort, Sandbox, View

VXLAN_OVERHEAD_BYTES = 50
BRIDGE_MTU_BYTES = 1500
OVERLAY_BRIDGE = "br0"
LOOPBACK = Link("lo", LinkKind.LOOPBACK)
PORTS_KEPT = 4096
"""Links that are remembered: one more attachment costs what it adds, not what is there."""
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

FORWARDING = (Sysctl("net.ipv4.ip_forward", "1"),)
FORWARDING6 = (Sysctl("net.ipv6.conf.all.forwarding", "1", optional=True),)
RETURNING = (Sysctl("net.ipv4.tcp_fwmark_accept", "1", optional=True),)
"""An accepted connection's packets carry the mark of the one that opened it."""
NO_REDIRECTS = (Sysctl("net.ipv4.conf.all.send_redirects", "0"), Sysctl("net.ipv4.conf.default.send_redirects", "0"))


class Balancing(enum.StrEnum):
    """What carries out virtual services on this node."""

    IPVS = "ipvs"
    NFT = "nft"




class UnknownNetwork(ValueError):
    """An interface names a network that the view does not have: our own caller's mistake."""


@dataclass(frozen=True, slots=True)
class _Attachment:
    """One interface of one sandbox, as its network sees it."""

    sandbox: str
    interface: Interface
    mac: str


class _Kind(NamedTuple):
    """One interface of a sandbox, with what follows from its network. `beside`: further subnets (CIDR) of the same link."""

    interface: Interface
    mtu: int
    beside: tuple[str, ...]


Adapt = Callable[[Namespace, tuple[Any, ...], tuple[Any, ...]], Namespace | None]
"""(what was made, of what, what it is to be made of now) -> what it becomes; None: it has to be made anew."""
_Attached = Mapping[str, tuple[Sandbox, tuple[_Attachment, ...]]]


@dataclass(frozen=True)
class Plan:
    """A desired state and what it was made from, namespace by namespace; the attachments of each sandbox, what all tasks' sandboxes depend on, how an
    overlay's remote endpoints are reached, and what seals encrypted ones.
    """

    state: State
    inputs: Mapping[str, tuple[object, ...]] = field(repr=False)
    attached: _Attached = field(repr=False)
    surroundings: tuple[object, ...] = field(repr=False)
    reaches: Mapping[str, Reach] = field(repr=False)
    sealing: Sealing = field(repr=False)


def overlay_namespace(overlay_id: str) -> str:
    return f"1-{overlay_id[:10]}"


def balancer_sandbox(overlay: Overlay) -> str:
    return INGRESS_SANDBOX if overlay.ingress else f"lb_{overlay.id[:9]}"


def overlay_mtu(view: View, overlay: Overlay) -> int:
    """What the underlay leaves for the overlay's packets; less where the user wants less."""
    room = view.underlay_mtu - VXLAN_OVERHEAD_BYTES
    if overlay.encrypted:
        room = (room - encryption.OVERHEAD_BYTES) // encryption.ALIGNMENT_BYTES * encryption.ALIGNMENT_BYTES
    return min(overlay.mtu, room) if overlay.mtu else room


@lru_cache(maxsize=ADDRESSES_KEPT)
def plain(cidr: str) -> str:
    """ "10.0.1.8/24" -> "10.0.1.8"."""
    return cidr.partition("/")[0]


def with_prefix(address: str, subnet: str) -> str:
    """("10.0.1.1", "10.0.1.0/24") -> "10.0.1.1/24"; empty without an address."""
    return f"{address}/{subnet.partition('/')[2]}" if address else ""


def mac(interface: Interface) -> str:
    return interface.mac or mac_of(plain(interface.address))


def plan(view: View, balancing: Balancing, previous: Plan | None = None, *, bridge_netfilter: bool = False, esp: bool = False) -> Plan:
    """The desired state of a node. Raises UnknownNetwork when an interface's network is not in the view.

    `bridge_netfilter`: this kernel leads bridged packets through the node's IP rules, which then isolate containers;
    otherwise the bridge's ports do. `esp`: this kernel encrypts; without, nothing of encrypted overlays leaves the node.
    """
    bridges = {bridge.name: bridge for bridge in _bridges(view)}
    balancers = _balancer_sandboxes(view)
    attached = _attached([*(sandbox for _, sandbox in balancers), *view.sandboxes], previous)
    sizes = {overlay.id: overlay_mtu(view, overlay) for overlay in view.overlays}
    sizes |= {name: bridge.mtu or BRIDGE_MTU_BYTES for name, bridge in bridges.items()}
    attachments = _by_network(attached, sizes)
    ingress = next((overlay for overlay in view.overlays if overlay.ingress), None)
    reaches = _reaches(view, previous.reaches if previous is not None else {}, esp=esp)
    ways_back = _ways_back(ingress, reaches[overlay_namespace(ingress.id)]) if ingress else ()
    vteps = frozenset().union(*(reaches[overlay_namespace(overlay.id)].vteps for overlay in view.overlays if overlay.encrypted))
    sealed = encryption.sealing(view, vteps, previous.sealing if previous is not None else None, esp=esp)
    subnets = {overlay.id: overlay.subnets for overlay in view.overlays}
    build = _Builder(previous, attached, (sizes, subnets, ingress.id if ingress else "", ways_back))

    ingress_ports = tuple(itertools.chain.from_iterable(map(attrgetter("ports"), ingress.balancers))) if ingress else ()
    ingress_address = plain(view.ingress_sandbox_address) if ingress and view.gateway_bridge else ""
    on_bridges = tuple((bridge, tuple(attachments[bridge.name])) for bridge in bridges.values())
    build(NODE, _node, on_bridges, view.gateway_bridge, view.host_ports, ingress_ports, ingress_address, bridge_netfilter, sealed)
    for overlay in view.overlays:
        name = overlay_namespace(overlay.id)
        size = (sizes[overlay.id], view.vxlan_port, overlay.vni)
        further = tuple(with_prefix(one.gateway, one.cidr) for one in overlay.further)
        gateways = (with_prefix(overlay.gateway, overlay.subnet), with_prefix(overlay.gateway6, overlay.subnet6), *further)
        build(name, _overlay, size, gateways, tuple(attachments[overlay.id]), reaches[name], adapt=_reached_otherwise)
    for overlay, sandbox in balancers:
        kinds = _kinds(sandbox, sizes, subnets)
        local = _local_sources(view) if overlay.ingress else ()
        build(sandbox.id, _balancer, kinds, (overlay.subnets, overlay.subnet6), balancing, local, overlay.balancers, adapt=_balanced_otherwise)
    for sandbox in view.sandboxes:
        if not build.kept(sandbox):
            kinds = _kinds(sandbox, sizes, subnets)
            on_ingress = next((i for i in sandbox.interfaces if ingress and i.network == ingress.id), None)
            build(sandbox.id, _task, sandbox, kinds, on_ingress, ways_back if on_ingress else ())
    return build.plan(reaches, sealed)


def _attached(sandboxes: Sequence[Sandbox], previous: Plan | None) -> _Attached:
    """The attachments of each, the same objects as in the plan before where the sandbox is."""
    before = previous.attached if previous is not None else {}
    found = {}
    for sandbox in sandboxes:
        known = before.get(sandbox.id)
        if known is None or not (known[0] is sandbox or known[0] == sandbox):
            known = sandbox, tuple(_Attachment(sandbox.id, interface, mac(interface)) for interface in sandbox.interfaces)
        found[sandbox.id] = known
    return found


def _by_network(attached: _Attached, known: Container[str]) -> Mapping[str, Sequence[_Attachment]]:
    found: defaultdict[str, list[_Attachment]] = defaultdict(list)
    for _, some in attached.values():
        for one in some:
            found[one.interface.network].append(one)
    for network, (one, *_) in found.items():
        if network not in known:
            raise UnknownNetwork(f"interface {one.interface.name} of {one.sandbox} is on network {network}, which is not known")
    return found


class _Builder:
    """Collects namespaces, taking over from the plan before what was made from the same."""

    def __init__(self, previous: Plan | None, attached: _Attached, surroundings: tuple[object, ...]) -> None:
        self._previous = previous
        self._attached = attached
        self._surroundings = surroundings
        self._state: dict[str, Namespace] = {}
        self._inputs: dict[str, tuple[object, ...]] = {}
        self._surrounded_as_before = previous is not None and previous.surroundings == surroundings

    def __call__(self, name: str, make: Callable[..., Namespace], *arguments: Any, adapt: Adapt | None = None) -> None:
        """`adapt` makes it from what it was when nothing but the last argument is another one."""
        inputs = (make, *arguments)
        before = self._previous.inputs.get(name) if self._previous is not None else None
        made = None
        if self._previous is not None and before is not None:
            known = self._previous.state[name]
            if before == inputs:
                made = known
            elif adapt is not None and before[:-1] == inputs[:-1]:
                made = adapt(known, before[1:], arguments)
        self._state[name] = made if made is not None else make(name, *arguments)
        self._inputs[name] = inputs

    def kept(self, sandbox: Sandbox) -> bool:
        """Takes a task's sandbox over as it was, where neither it nor what is around it has changed. One look at each: there may be hundreds."""
        before = self._previous
        if before is None or not self._surrounded_as_before or sandbox.id not in before.attached or before.attached[sandbox.id][0] is not sandbox:
            return False
        self._state[sandbox.id], self._inputs[sandbox.id] = before.state[sandbox.id], before.inputs[sandbox.id]
        return True

    def plan(self, reaches: Mapping[str, Reach], sealed: Sealing) -> Plan:
        return Plan(self._state, self._inputs, self._attached, self._surroundings, reaches, sealed)


def _bridges(view: View) -> tuple[Bridge, ...]:
    return (*((view.gateway_bridge,) if view.gateway_bridge else ()), *view.bridges)


def _local_sources(view: View) -> tuple[str, ...]:
    """The subnets whose addresses mean something else on every node, or inside a task: as a client's they are hidden."""
    bridges = (bridge.subnet for bridge in _bridges(view))
    return tuple(sorted({*bridges, *(subnet for overlay in view.overlays for subnet in overlay.subnets)}))


def _reaches(view: View, before: Mapping[str, Reach], *, esp: bool) -> Mapping[str, Reach]:
    """How the endpoints of each overlay are reached, by its namespace."""
    found = {}
    for overlay in view.overlays:
        name = overlay_namespace(overlay.id)
        found[name] = reached(overlay.remotes if encryption.reachable(view, overlay, esp=esp) else (), before.get(name))
    return found


def _ways_back(ingress: Overlay, reach: Reach) -> tuple[str, ...]:
    """The balancers' addresses on the ingress network, this node's and the others'."""
    return tuple(sorted({plain(ingress.lb_address), *reach.balancers} - {""}))


def _balancer_sandboxes(view: View) -> list[tuple[Overlay, Sandbox]]:
    """The sandboxes that the fabric itself needs: the balancer of every overlay where this node has an address."""
    made = []
    for overlay in view.overlays:
        if not overlay.lb_address:
            continue
        interfaces = [Interface("eth0", overlay.id, overlay.lb_address, address6=overlay.lb_address6)]
        if overlay.ingress and view.gateway_bridge is not None:
            bridge = view.gateway_bridge
            interfaces.append(Interface("eth1", bridge.name, view.ingress_sandbox_address, plain(bridge.gateway)))
        made.append((overlay, Sandbox(balancer_sandbox(overlay), tuple(interfaces))))
    return made


def _ports(attached: tuple[_Attachment, ...], bridge: str, mtu: int, *, isolated: bool = False) -> tuple[Link, ...]:
    """The bridge's ends of the links of what is attached to it. `isolated`: the containers are kept from each other; the ingress sandbox is for all of
    them.
    """
    return tuple(_port(a.sandbox, a.interface.name, a.mac, bridge, mtu, isolated and a.sandbox != INGRESS_SANDBOX) for a in attached)


@lru_cache(maxsize=PORTS_KEPT)
def _port(sandbox: str, interface: str, hardware: str, bridge: str, mtu: int, isolated: bool) -> Link:
    end = End(sandbox, interface, hardware)
    return Link(port_name(sandbox, interface), LinkKind.VETH, mtu=mtu, master=bridge, peer=end, isolated=isolated)


def _returning(port: Link) -> Link:
    """Where bridged packets are translated, a container that calls its own forwarded port is sent back by its port."""
    return dataclasses.replace(port, hairpin=True)


def _node(
    _name: str,
    on_bridges: tuple[tuple[Bridge, tuple[_Attachment, ...]], ...],
    gateway_bridge: Bridge | None,
    host_ports: tuple[HostPort, ...],
    ingress_ports: tuple[PublishedPort, ...],
    ingress_address: str,
    bridge_netfilter: bool,
    sealed: Sealing,
) -> Namespace:
    if not on_bridges:
        return Namespace(associations=sealed.associations, policies=sealed.policies, guard=sealed.guard)
    bridges = tuple(bridge for bridge, _ in on_bridges)
    own = tuple(Link(b.name, LinkKind.BRIDGE, mac=mac_of(plain(b.gateway))) for b in bridges)
    ports: list[Link] = []
    forwarded = {port.address for port in host_ports}
    for bridge, attached in on_bridges:
        there = _ports(attached, bridge.name, bridge.mtu or BRIDGE_MTU_BYTES, isolated=bridge.isolate and not bridge_netfilter)
        targets = {a.mac for a in attached if plain(a.interface.address) in forwarded} if forwarded and bridge_netfilter else set()
        ports += [_returning(port) if port.peer is not None and port.peer.mac in targets else port for port in there] if targets else there
    held = {one for port in ingress_ports if ingress_address for one in _held_for_mesh(port, ingress_address)}
    if host_ports:
        owners = {plain(cidr): a.sandbox for _, attached in on_bridges for a in attached for cidr in (a.interface.address, a.interface.address6)}
        held |= {_held(port, owners.get(port.address, "")) for port in host_ports}
    sysctls = [*FORWARDING, *(Sysctl(f"net.ipv4.conf.{b.name}.route_localnet", "1") for b in bridges)]
    ports4 = tuple(port for port in host_ports if ":" not in port.address and ":" not in port.host_address)
    tables = [node_table(bridges, gateway_bridge, ports4, ingress_ports if ingress_address else (), ingress_address)]
    bridges6 = tuple(b for b in bridges if b.gateway6)
    if bridges6:
        sysctls += [*FORWARDING6, *(Sysctl(f"net.ipv6.conf.{b.name}.disable_ipv6", "0", optional=True) for b in bridges6)]
        tables.append(node_table6(bridges6, tuple(port for port in host_ports if ":" in port.address)))
    return Namespace(
        links=(*own, *ports),
        addresses=(*(Address(b.name, b.gateway) for b in bridges if b.addressed), *(Address(b.name, b.gateway6) for b in bridges6 if b.addressed6)),
        sysctls=tuple(sysctls),
        tables=tuple(tables),
        targets=frozenset(Target(port.address) for port in host_ports if ":" not in port.address),
        ports=frozenset(held),
        associations=sealed.associations,
        policies=sealed.policies,
        guard=sealed.guard,
    )


def _held_for_mesh(port: PublishedPort, sandbox: str) -> tuple[HeldPort, HeldPort]:
    """IPv4's is held only, IPv6's is relayed into the mesh: the ingress network has no IPv6 addresses."""
    return (
        HeldPort(port.protocol, port.published, required=False),
        HeldPort(port.protocol, port.published, "::", (sandbox, port.published), required=False),
    )


def _held(port: HostPort, owner: str) -> HeldPort:
    """The socket that holds a forwarded port; on IPv6 it is a relay's, for what no rule can lead to the container."""
    target = (port.address, port.target) if ":" in port.host_address else None
    return HeldPort(port.protocol, port.published, port.host_address, target, owner=owner)


def _overlay(
    _name: str,
    size: tuple[int, int, int],
    gateways: tuple[str, ...],
    attached: tuple[_Attachment, ...],
    reach: Reach,
) -> Namespace:
    mtu, port, vni = size
    bridge = Link(OVERLAY_BRIDGE, LinkKind.BRIDGE, mac=mac_of(plain(gateways[0])))
    tunnel = Link(OVERLAY_TUNNEL, LinkKind.VXLAN, mtu=mtu, master=OVERLAY_BRIDGE, vni=vni, port=port, learning=False)
    return Namespace(
        links=(LOOPBACK, bridge, tunnel, *_ports(attached, OVERLAY_BRIDGE, mtu)),
        addresses=tuple(Address(OVERLAY_BRIDGE, gateway) for gateway in gateways if gateway),
        neighbours=reach.neighbours,
        forwarding=reach.forwarding,
        sysctls=IPV6 if gateways[1] else NO_IPV6,
    )


def _reached_otherwise(namespace: Namespace, _: tuple[Any, ...], now: tuple[Any, ...]) -> Namespace:
    reach: Reach = now[-1]
    return dataclasses.replace(namespace, neighbours=reach.neighbours, forwarding=reach.forwarding)


def _kinds(sandbox: Sandbox, sizes: Mapping[str, int], subnets: Mapping[str, tuple[str, ...]]) -> tuple[_Kind, ...]:
    return tuple(_Kind(i, sizes[i.network], _beside(i.address, subnets.get(i.network, ()))) for i in sandbox.interfaces)


def _beside(address: str, subnets: tuple[str, ...]) -> tuple[str, ...]:
    """The subnets of the same link that this address is not of."""
    if len(subnets) < 2:
        return ()
    own = str(ipaddress.ip_interface(address).network)
    return tuple(subnet for subnet in subnets if subnet != own)


def _sandbox(kinds: tuple[_Kind, ...]) -> Namespace:
    """What every sandbox has: its links, addresses and the way out."""
    ways_out = (Route(k.interface.name, "default", g) for k in kinds for g in (k.interface.default_gateway, k.interface.default_gateway6) if g)
    return Namespace(
        links=(LOOPBACK, *(Link(k.interface.name, LinkKind.PEER, mtu=k.mtu, mac=mac(k.interface)) for k in kinds)),
        addresses=tuple(Address(i.name, cidr) for i, *_ in kinds for cidr in (i.address, i.address6, *i.further) if cidr),
        routes=(*ways_out, *(Route(k.interface.name, subnet) for k in kinds for subnet in k.beside)),
        sysctls=IPV6 if any(k.interface.address6 for k in kinds) else NO_IPV6,
    )


def _balancer(
    _name: str,
    kinds: tuple[_Kind, ...],
    subnets: tuple[tuple[str, ...], str],
    balancing: Balancing,
    local_sources: tuple[str, ...],
    balancers: tuple[Balancer, ...],
) -> Namespace:
    """`local_sources` is empty where no client keeps its address: on every network but the ingress."""
    base = _sandbox(kinds)
    subnets4, subnet6 = subnets
    own, own6 = plain(kinds[0].interface.address), plain(kinds[0].interface.address6)
    aliases = itertools.chain.from_iterable(map(_aliases, balancers))
    by_ipvs = balancing is Balancing.IPVS
    backend = ipvs if by_ipvs else nft
    tables = [backend.balancer_table(balancers, source_chain(balancers, subnets4, own, local_sources))]
    if own6:
        tables.append(backend.balancer_table(on_ipv6(balancers), source_chain((), (subnet6,), own6, ()), "ip6"))
    return dataclasses.replace(
        base,
        addresses=(*base.addresses, *aliases),
        sysctls=(*base.sysctls, *FORWARDING, *(FORWARDING6 if own6 else ()), *NO_REDIRECTS, *(ipvs.SYSCTLS if by_ipvs else ())),
        tables=tuple(tables),
        services=ipvs.services(balancers) if by_ipvs else (),
        servers=PartedSet(ipvs.servers(balancers) if by_ipvs else ()),
        timeouts=ipvs.TIMEOUTS if by_ipvs else None,
        targets=PartedSet(targets(balancers)),
    )


def _balanced_otherwise(namespace: Namespace, before: tuple[Any, ...], now: tuple[Any, ...]) -> Namespace | None:
    return rebalanced(namespace, before[-1], now[-1], by_ipvs=now[2] is Balancing.IPVS)


@lru_cache(maxsize=SERVICES_KEPT)
def _aliases(balancer: Balancer) -> tuple[Address, ...]:
    """What the sandbox's eth0 has besides its own addresses."""
    own = (f"{balancer.virtual_ip}/32",) if balancer.virtual_ip else ()
    return tuple(Address("eth0", cidr) for cidr in (*own, *((f"{balancer.virtual_ip6}/128",) if balancer.virtual_ip6 else ())))


def _task(
    _name: str, sandbox: Sandbox, kinds: tuple[_Kind, ...], on_ingress: Interface | None, ways_back: tuple[str, ...]
) -> Namespace:
    base = _sandbox(kinds)
    chains = resolver.CHAINS if sandbox.resolver else ()
    if on_ingress is not None and sandbox.ingress_ports:
        chains = (*task_table(on_ingress.name, plain(on_ingress.address), sandbox.ingress_ports).chains, *chains)
        base = dataclasses.replace(
            base,
            sysctls=(*base.sysctls, *RETURNING, *(Sysctl(f"net.ipv4.conf.{link}.rp_filter", "0") for link in ("all", on_ingress.name))),
            returns=frozenset(ReturnPath(on_ingress.name, address) for address in ways_back),
        )
    own = (Sysctl(key, value) for key, value in sandbox.sysctls if key.startswith("net."))
    return dataclasses.replace(
        base,
        sysctls=tuple({one.key: one for one in (*base.sysctls, *UNPRIVILEGED, *own)}.values()),
        tables=(Table(TABLE, chains),) if chains else (),
        shared=True,
    )
