"""The hops of a packet to a published port, as the seed's last section walks them, read from the kernel.

The view only says where to look: which mark the service has, which sandboxes are here. Every rule, address, entry
and counter is what the kernel answers; a hop that should be there and is not says so. Reads only.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from netfabric.anatomy.addresses import plain
from netfabric.anatomy.balancer import Balancing
from netfabric.anatomy.overlay import OVERLAY_BRIDGE, overlay_namespace
from netfabric.firewall.rules import DOCKER_INGRESS, TABLE
from netfabric.handles import Handles
from netfabric.ingress.nft import service_chain
from netfabric.ingress.vips import MARKING
from netfabric.links.seen import SeenLink
from netfabric.links.veth import mac_of
from netfabric.netlink import conntrack, ipvs
from netfabric.netlink.nftables import NftablesError
from netfabric.observe import Seen, dump, seen_addresses, seen_forwarding
from netfabric.reach import OVERLAY_TUNNEL
from netfabric.state import NODE, port_name
from netfabric.view import INGRESS_SANDBOX, Balancer, Bridge, Overlay, PublishedPort, View

_COUNTER = re.compile(r"counter packets (\d+) bytes (\d+)")
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Hop:
    """`namespace` is "" for the node's own. `what` names the thing, `details` are lines in the kernel's words.
    Counters are None where there are none; those of nat rules count connections by their first packets.
    """

    namespace: str
    what: str
    details: tuple[str, ...] = ()
    packets: int | None = None
    octets: int | None = None


@dataclass(frozen=True, slots=True)
class _Server:
    address: str
    weight: int
    counted: str


async def path(handles: Handles, view: View, port: int, balancing: Balancing, ipvs_family: int) -> tuple[Hop, ...]:
    """The hops on this node, in order. Empty when no service of the view publishes the port. Raises OSError."""
    found = _published(view, port)
    if found is None:
        return ()
    overlay, balancer, published = found
    hops = [_rule_hop(handles, NODE, f"nat chain {DOCKER_INGRESS}", DOCKER_INGRESS, _dport(published.protocol, port))]
    if view.gateway_bridge is not None:
        hops.append(await _bridge_hop(handles, view.gateway_bridge))
    hops.append(await _links_hop(handles, INGRESS_SANDBOX, "sandbox of the ingress network"))
    marking = _dport(published.protocol, port)
    hops.append(_rule_hop(handles, INGRESS_SANDBOX, f"mark {balancer.mark:#x}", MARKING.name, marking))
    if balancing is Balancing.IPVS:
        service, servers = await _ipvs_service(handles, balancer.mark, ipvs_family)
    else:
        service, servers = await _nft_service(handles, balancer)
    hops.append(service)
    tunnel = overlay_namespace(overlay.id)
    if not handles.there(tunnel):
        return (*hops, Hop(tunnel, "namespace of the ingress network", (MISSING,)))
    seen = await dump(handles, tunnel)
    hops.append(_overlay_hop(tunnel, overlay, seen))
    for server in servers:
        hops += [hop async for hop in _server_hops(handles, view, overlay, server, seen, published)]
    return tuple(hops)


def _published(view: View, port: int) -> tuple[Overlay, Balancer, PublishedPort] | None:
    for overlay in view.overlays:
        for balancer in overlay.balancers:
            for published in balancer.ports:
                if overlay.ingress and published.published == port:
                    return overlay, balancer, published
    return None


def _dport(protocol: str, port: int) -> re.Pattern[str]:
    return re.compile(rf"\b{protocol} dport {port}\b")


def _rules(handles: Handles, namespace: str, chain: str) -> list[str]:
    if not handles.there(namespace):
        return []
    try:
        listing = handles.nftables(namespace).run(f"list chain ip {TABLE} {chain}")
    except NftablesError:
        return []
    return [line.strip() for line in listing.splitlines()]


def _rule_hop(handles: Handles, namespace: str, what: str, chain: str, pattern: re.Pattern[str]) -> Hop:
    for line in _rules(handles, namespace, chain):
        if pattern.search(line):
            counted = _COUNTER.search(line)
            packets, octets = (int(counted[1]), int(counted[2])) if counted else (None, None)
            return Hop(namespace, what, (line,), packets, octets)
    return Hop(namespace, what, (MISSING,))


def _described(link: SeenLink, seen: Seen) -> str:
    addresses = " ".join(f"inet {a}" for i, a in seen_addresses(seen.addresses) if i == link.index)
    return f"{link.index}: {link.name} mtu {link.mtu} link/ether {link.mac} {addresses}".rstrip()


async def _bridge_hop(handles: Handles, bridge: Bridge) -> Hop:
    """The gateway bridge and the port of the ingress sandbox on it."""
    seen = await dump(handles, NODE)
    wanted = (bridge.name, port_name(INGRESS_SANDBOX, "eth1"))
    lines = tuple(_described(link, seen) for link in seen.links if link.name in wanted)
    return Hop(NODE, f"bridge {bridge.name}", lines or (MISSING,))


async def _links_hop(handles: Handles, namespace: str, what: str) -> Hop:
    if not handles.there(namespace):
        return Hop(namespace, what, (MISSING,))
    seen = await dump(handles, namespace)
    return Hop(namespace, what, tuple(_described(link, seen) for link in seen.links if link.kind == "veth"))


async def _ipvs_service(handles: Handles, mark: int, family: int) -> tuple[Hop, tuple[_Server, ...]]:
    if not handles.there(INGRESS_SANDBOX):
        return Hop(INGRESS_SANDBOX, f"virtual service FWM {mark}", (MISSING,)), ()
    generic = handles.generic(INGRESS_SANDBOX)
    (answer,) = await generic.request(ipvs.dump_services(family))
    service = next((one for one in ipvs.services_of(answer) if one.mark == mark), None)
    if service is None:
        return Hop(INGRESS_SANDBOX, f"virtual service FWM {mark}", (MISSING,)), ()
    (answer,) = await generic.request(ipvs.dump_servers(family, mark))
    servers = tuple(_Server(s.address, s.weight, f"ActiveConn {s.active} InActConn {s.inactive} connections {s.connections}") for s in ipvs.servers_of(answer))
    lines = (f"FWM  {mark} {service.scheduler}", *(_real_server(server) for server in servers))
    return Hop(INGRESS_SANDBOX, f"virtual service FWM {mark} {service.scheduler} (IPVS)", lines), servers


def _real_server(server: _Server) -> str:
    return f"  -> {server.address}:0 Masq weight {server.weight} {server.counted}"


async def _nft_service(handles: Handles, balancer: Balancer) -> tuple[Hop, tuple[_Server, ...]]:
    """The rule that picks, and the servers of the view: one that the rule has not is on its way out (weight 0)."""
    manner = "jhash" if balancer.affinity else "rr"
    what = f"virtual service FWM {balancer.mark} {manner} (nftables)"
    expressions: list[dict[str, Any]] = []
    if handles.there(INGRESS_SANDBOX):
        try:
            objects = handles.nftables(INGRESS_SANDBOX).run_json(f"list chain ip {TABLE} {service_chain(balancer.mark)}")
        except NftablesError:
            objects = []
        expressions = [e for one in objects if "rule" in one for e in one["rule"]["expr"]]
    picked = [address for e in expressions for address in _targets(e)]
    if not picked:
        return Hop(INGRESS_SANDBOX, what, (MISSING,)), ()
    (tracked,) = await handles.conntrack(INGRESS_SANDBOX).request(conntrack.dump_connections())
    connections = conntrack.counted(tracked, dict.fromkeys((*picked, *(b.address for b in balancer.backends))))
    servers = tuple(_Server(address, _weight(picked, address, balancer), f"connections {number}") for address, number in connections.items())
    lines = (f"FWM  {balancer.mark} {manner}", *(_real_server(server) for server in servers))
    return Hop(INGRESS_SANDBOX, what, lines, _packets(expressions)), servers


def _weight(picked: list[str], address: str, balancer: Balancer) -> int:
    """How often a server stands in the wheel; in the ring of clients that stay it is there or not."""
    return min(picked.count(address), 1) if balancer.affinity else picked.count(address)


def _targets(expression: dict[str, Any]) -> Iterator[str]:
    """The addresses that a translation chooses from."""
    chosen = expression.get("dnat", {}).get("addr")
    if isinstance(chosen, dict):
        for _, address in chosen["map"]["data"]["set"]:
            yield address
    elif chosen:
        yield chosen


def _packets(expressions: list[dict[str, Any]]) -> int:
    return sum(int(e["counter"]["packets"]) for e in expressions if isinstance(e.get("counter"), dict))


def _overlay_hop(namespace: str, overlay: Overlay, seen: Seen) -> Hop:
    lines = tuple(_described(link, seen) for link in seen.links if link.name in {OVERLAY_BRIDGE, OVERLAY_TUNNEL})
    vnis = [link.vni for link in seen.links if link.name == OVERLAY_TUNNEL]
    return Hop(namespace, f"overlay {overlay.name} vni {vnis[0] if vnis else MISSING}", lines or (MISSING,))


async def _server_hops(handles: Handles, view: View, overlay: Overlay, server: _Server, seen: Seen, published: PublishedPort) -> AsyncIterator[Hop]:
    """Where a real server lives: behind another node's VTEP, or in a sandbox here."""
    namespace = overlay_namespace(overlay.id)
    mac = mac_of(server.address)
    tunnels = {link.index: link.name for link in seen.links if link.kind == "vxlan"}
    for index, seen_mac, vtep in seen_forwarding(seen.forwarding):
        if seen_mac == mac and index in tunnels and vtep:
            yield Hop(namespace, f"task {server.address} on another node", (f"{mac} dev {tunnels[index]} dst {vtep} self permanent",))
            return
    for sandbox in view.sandboxes:
        for interface in sandbox.interfaces:
            if interface.network == overlay.id and plain(interface.address) == server.address:
                port = port_name(sandbox.id, interface.name)
                lines = tuple(_described(link, seen) for link in seen.links if link.name == port)
                yield Hop(namespace, f"port of task {server.address}", lines or (MISSING,))
                yield await _links_hop(handles, sandbox.id, f"sandbox of task {server.address}")
                pattern = _dport(published.protocol, published.published)
                yield _rule_hop(handles, sandbox.id, f"port {published.published} to {published.target}", "PREROUTING", pattern)
                return
    yield Hop(namespace, f"task {server.address}", (f"{MISSING}: neither a forwarding entry nor a sandbox",))
