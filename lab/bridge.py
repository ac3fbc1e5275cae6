"""The wires of a lab: a bridge in a namespace of its own, a link to each machine, one to this host, and on request the
way to the real outside.

Owns these links and the host's part of `--uplink` (forwarding and one nftables table). Machines' namespaces come as
descriptors.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from lab import layout as layouts
from lab.layout import LabError, Layout, Machine
from netfabric.links.bridge import new_bridge
from netfabric.links.veth import mac_of, new_veth
from netfabric.netlink import messages as nl
from netfabric.netlink.netns import in_namespace
from netfabric.netlink.nftables import Nftables
from netfabric.netlink.socket import SyncNetlink

BRIDGE = "lab0"
NODE_LINK = "eth0"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_ICMP_RATE = Path("/proc/sys/net/ipv4/icmp_ratelimit")
_RESOLVER = Path("/etc/resolv.conf")
MAX_RESOLVERS = 3  # as resolv.conf(5)
_GONE = (errno.ENODEV, errno.EINVAL)


def check_free(layout: Layout, host: int) -> None:
    """Raises LabError when this host already has an address or a route in the lab's subnet."""
    with SyncNetlink(host) as netlink:
        (routes,) = netlink.request(nl.dump_routes())
        taken = layouts.conflict(layout.subnet, tuple(_destinations(routes)))
    if taken:
        raise LabError(f"this host already routes {taken}, which overlaps the lab's {layout.subnet}: choose another with --subnet")


def build(layout: Layout, gateway: int, host: int, *, uplink: bool) -> None:
    """The bridge in the (new) namespace `gateway`, and the host's link to it."""
    with SyncNetlink(gateway) as netlink:
        mac = mac_of(layout.gateway)
        netlink.request(nl.set_link(nl.LOOPBACK_INDEX, up=True), new_bridge(BRIDGE, mac=mac))
        bridge = _index(netlink, BRIDGE)
        netlink.request(nl.add_address(bridge, f"{layout.gateway}/{layout.prefix}"))
        if not uplink:
            outside = {layouts.OUTSIDE, *_resolvers(layout.subnet)}
            netlink.request(*(nl.add_address(nl.LOOPBACK_INDEX, f"{address}/32") for address in sorted(outside)))
        remove_host_link(layout, host)
        netlink.request(
            new_veth("host", layout.host_link, host, master=bridge, peer_mac=mac_of(layout.host)),
        )
        with SyncNetlink(host) as outer:
            index = _index(outer, layout.host_link)
            outer.request(nl.set_link(index, up=True), nl.add_address(index, f"{layout.host}/{layout.prefix}"))
        if uplink:
            netlink.request(nl.add_route("default", gateway=layout.host))
    with in_namespace(gateway):
        _ICMP_RATE.write_text("0")  # each packet is refused, not one a second: lookups fail at once
        if uplink:
            _FORWARDING.write_text("1")
            for scope in ("all", BRIDGE):
                Path(f"/proc/sys/net/ipv4/conf/{scope}/send_redirects").write_text("0")


def attach(layout: Layout, gateway: int, machines: Iterable[tuple[Machine, int]]) -> None:
    """A link, an address and the way out for each machine; a link that is there already is made anew."""
    with SyncNetlink(gateway) as netlink:
        bridge = _index(netlink, BRIDGE)
        for machine, namespace in machines:
            port = f"node{machine.address.rpartition('.')[2]}"
            netlink.request(nl.delete_link_named(port), tolerate=_GONE)
            with SyncNetlink(namespace) as inner:
                inner.request(nl.delete_link_named(NODE_LINK), tolerate=_GONE)
                netlink.request(new_veth(port, NODE_LINK, namespace, master=bridge, peer_mac=mac_of(machine.address)))
                index = _index(inner, NODE_LINK)
                inner.request(
                    nl.set_link(nl.LOOPBACK_INDEX, up=True),
                    nl.set_link(index, up=True),
                    nl.add_address(index, f"{machine.address}/{layout.prefix}"),
                    nl.add_route("default", gateway=layout.gateway),
                )


def _resolvers(subnet: str) -> list[str]:
    """The name servers of this host, which is what a machine asks: stood in for as well, or every lookup would wait for its timeout."""
    own = ipaddress.IPv4Network(subnet)
    found = []
    for line in _RESOLVER.read_text(errors="replace").splitlines() if _RESOLVER.exists() else ():
        word, _, value = line.partition(" ")
        try:
            address = ipaddress.IPv4Address(value.strip())
        except ValueError:
            continue
        if word == "nameserver" and address not in own and not (address.is_loopback or address.is_unspecified or address.is_multicast):
            found.append(str(address))
    return found[:MAX_RESOLVERS]


def remove_host_link(layout: Layout, host: int) -> None:
    """With it goes its other end. No error when there is none."""
    with SyncNetlink(host) as netlink:
        netlink.request(nl.delete_link_named(layout.host_link), tolerate=_GONE)


def forwarding() -> str:
    """The host's ip_forward, to be put back later."""
    return _FORWARDING.read_text().strip()


def open_uplink(layout: Layout, host: int) -> None:
    """Let the lab out through this host, under the host's own address."""
    table = _table(layout)
    with Nftables(host) as nft:
        nft.run(
            f"add table {table}\ndelete table {table}\nadd table {table}\n"
            f"add chain {table} postrouting {{ type nat hook postrouting priority srcnat; policy accept; }}\n"
            f'add rule {table} postrouting ip saddr {layout.subnet} oifname != "{layout.host_link}" masquerade\n'
        )
    _FORWARDING.write_text("1")


def close_uplink(layout: Layout, host: int, forwarding_before: str) -> None:
    """Take the rules away and put ip_forward back."""
    table = _table(layout)
    with Nftables(host) as nft:
        nft.run(f"add table {table}\ndelete table {table}")
    if forwarding_before in ("0", "1"):
        _FORWARDING.write_text(forwarding_before)


def _table(layout: Layout) -> str:
    return f"ip festoon-lab-{layout.name}"


def _index(netlink: SyncNetlink, name: str) -> int:
    (answer,) = netlink.request(nl.get_link(name))
    index: int = struct.unpack_from("=BxHi", answer[0][1])[2]
    return index


def _destinations(routes: Iterable[tuple[int, bytes]]) -> Iterable[str]:
    for kind, payload in routes:
        if kind != nl.RTM_NEWROUTE or payload[0] != socket.AF_INET:
            continue
        prefix = payload[1]
        for name, value in nl.attributes(payload, 12):
            if name == nl.RTA_DST and prefix and payload[7] == nl.RTN_UNICAST:
                yield ".".join(str(byte) for byte in value) + f"/{prefix}"
