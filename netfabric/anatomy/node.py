"""What a node's own namespace looks like: the bridges with their containers' ports, what is published, what is sealed. Pure."""

from __future__ import annotations

import dataclasses

from netfabric.anatomy.addresses import plain
from netfabric.anatomy.attachments import Attachment, ports_of
from netfabric.encryption import Sealing
from netfabric.firewall.rules import node_table, node_table6
from netfabric.links.veth import mac_of
from netfabric.state import Address, HeldPort, Link, LinkKind, Namespace, Sysctl, Target
from netfabric.view import Bridge, HostPort, PublishedPort, View

BRIDGE_MTU_BYTES = 1500
FORWARDING = (Sysctl("net.ipv4.ip_forward", "1"),)
FORWARDING6 = (Sysctl("net.ipv6.conf.all.forwarding", "1", optional=True),)


def bridges_of(view: View) -> tuple[Bridge, ...]:
    return (*((view.gateway_bridge,) if view.gateway_bridge else ()), *view.bridges)


def planned_node(
    _name: str,
    on_bridges: tuple[tuple[Bridge, tuple[Attachment, ...]], ...],
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
        there = ports_of(attached, bridge.name, bridge.mtu or BRIDGE_MTU_BYTES, isolated=bridge.isolate and not bridge_netfilter)
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


def _returning(port: Link) -> Link:
    """Where bridged packets are translated, a container that calls its own forwarded port is sent back by its port."""
    return dataclasses.replace(port, hairpin=True)


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
