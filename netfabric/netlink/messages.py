"""The netlink messages that are sent often, packed by hand: links, addresses, routes, and their dumps.

Pure bytes; no socket. A Message has no sequence number yet: netlink/exchange.py gives it one. Interfaces are named
by their index. What belongs to one kind of link is in netfabric/links. Sources: netlink(7), rtnetlink(7),
linux/if_link.h, linux/rtnetlink.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass

NETLINK_ROUTE = 0
NETLINK_XFRM = 6
NETLINK_NETFILTER = 12
NETLINK_GENERIC = 16

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
CHANGE = NLM_F_REQUEST | NLM_F_ACK
NEW = CHANGE | NLM_F_CREATE | NLM_F_EXCL
PUT = CHANGE | NLM_F_CREATE | NLM_F_REPLACE

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNETCONF = 80
ALL_LINKS = -1  # NETCONFA_IFINDEX_ALL
NETCONF_INDEX, NETCONF_FORWARDING, NETCONF_RP_FILTER = 1, 2, 3

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_PROTINFO, IFLA_LINKINFO = 1, 3, 4, 5, 10, 12, 18
IFLA_GROUP, IFLA_NET_NS_FD, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 27, 28, 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_DATA = 1, 2, 5
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_NODAD = 0x02
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 4, 5, 6, 7
IPV6_CONNECTED_METRIC = 256
IFF_UP = 0x1
LOOPBACK_INDEX = 1

RT_TABLE_MAIN = 254
RTPROT_KERNEL, RTPROT_STATIC = 2, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
RTN_UNICAST = 1

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
_ATTRIBUTE = struct.Struct("=HH")
_POINT_TO_POINT_PREFIX = 31
_IPV6_BYTES = 16


@dataclass(frozen=True, slots=True)
class Message:
    """One request. `what` says in a few words what it does, for errors."""

    kind: int
    flags: int
    body: bytes
    what: str

    def encoded(self, sequence: int, *, without: int = 0) -> bytes:
        """The message with its header, padded to four bytes; `without` some of its flags."""
        length = 16 + len(self.body)
        return struct.pack("=IHHII", length, self.kind, self.flags & ~without, sequence, 0) + self.body + bytes(-length % 4)


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=B", value))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def u16_network(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!H", value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *values: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(values))


def attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The (kind, value) pairs in `data` from `offset`; a truncated tail is left out."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def chosen(data: bytes, offset: int, kinds: Container[int]) -> dict[int, bytes]:
    """The attributes of these kinds, by kind: for messages with many, of which few are wanted."""
    found = {}
    last = len(data) - _ATTRIBUTE.size
    while offset <= last:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        if kind & NLA_TYPE_MASK in kinds:
            found[kind & NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def address_bytes(address: str) -> bytes:
    """Raises ValueError when it is no address."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError as error:
        raise ValueError(f"{address!r} is no IP address") from error


def address_text(value: bytes) -> str:
    """The address of four or sixteen octets."""
    return socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(value: bytes) -> str:
    return value.hex(":")


def link_header(index: int = 0, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    """struct ifinfomsg."""
    return struct.pack("=BxHiII", family, 0, index, flags, change)


def link_attributes(
    *,
    name: str = "",
    mtu: int = 0,
    master: int | None = None,
    mac: str = "",
    namespace: int | None = None,
    group: int | None = None,
) -> bytes:
    """The attributes every kind of link has. `master` 0 takes the link out of its bridge; `namespace` is a
    descriptor.
    """
    packed = b""
    if name:
        packed += text(IFLA_IFNAME, name)
    if mtu:
        packed += u32(IFLA_MTU, mtu)
    if mac:
        packed += attribute(IFLA_ADDRESS, mac_bytes(mac))
    if master is not None:
        packed += u32(IFLA_MASTER, master)
    if namespace is not None:
        packed += u32(IFLA_NET_NS_FD, namespace)
    if group is not None:
        packed += u32(IFLA_GROUP, group)
    return packed


def new_link(kind: str, name: str, *, index: int = 0, up: bool = True, data: bytes = b"", attributes: bytes = b"") -> Message:
    """Creates a link of `kind` with the kind's own `data`. `index` 0 lets the kernel choose."""
    flags = IFF_UP if up else 0
    info = nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, kind), nested(IFLA_INFO_DATA, data))
    body = link_header(index, flags, flags) + text(IFLA_IFNAME, name) + attributes + info
    return Message(RTM_NEWLINK, NEW, body, f"create {kind} {name}")


def set_link(
    index: int,
    *,
    up: bool | None = None,
    mtu: int = 0,
    master: int | None = None,
    mac: str = "",
    group: int | None = None,
) -> Message:
    """Changes a link; what is not given stays."""
    body = link_header(index, IFF_UP if up else 0, 0 if up is None else IFF_UP)
    body += link_attributes(mtu=mtu, master=master, mac=mac, group=group)
    return Message(RTM_NEWLINK, CHANGE, body, f"change link {index}")


def delete_link(index: int) -> Message:
    return Message(RTM_DELLINK, CHANGE, link_header(index), f"delete link {index}")


def delete_link_named(name: str) -> Message:
    return Message(RTM_DELLINK, CHANGE, link_header() + text(IFLA_IFNAME, name), f"delete link {name}")


def delete_group(group: int) -> Message:
    """Deletes every link of a group at once; the kernel waits for its readers once, not once a link."""
    return Message(RTM_DELLINK, CHANGE, link_header() + u32(IFLA_GROUP, group), f"delete links of group {group:#x}")


def get_link(name: str) -> Message:
    return Message(RTM_GETLINK, CHANGE, link_header() + text(IFLA_IFNAME, name), f"look for link {name}")


def dump_links() -> Message:
    return Message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, link_header(), "list links")


def _address_body(index: int, cidr: str) -> bytes:
    address, _, length = cidr.partition("/")
    packed, prefix = address_bytes(address), int(length)
    both = attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    if len(packed) == _IPV6_BYTES:  # usable at once: the cluster and the node give addresses out, nobody else has this one
        return struct.pack("=BBBBi", socket.AF_INET6, prefix, 0, RT_SCOPE_UNIVERSE, index) + both + u32(IFA_FLAGS, IFA_F_NODAD)
    body = struct.pack("=BBBBi", socket.AF_INET, prefix, 0, RT_SCOPE_UNIVERSE, index) + both
    if prefix < _POINT_TO_POINT_PREFIX:
        hosts = (1 << (32 - prefix)) - 1
        body += attribute(IFA_BROADCAST, (int.from_bytes(packed, "big") | hosts).to_bytes(4, "big"))
    return body


def add_address(index: int, cidr: str) -> Message:
    """Adds "10.0.1.8/24" to a link, with the subnet's broadcast address."""
    return Message(RTM_NEWADDR, NEW, _address_body(index, cidr), f"add address {cidr}")


def delete_address(index: int, cidr: str) -> Message:
    return Message(RTM_DELADDR, CHANGE, _address_body(index, cidr), f"delete address {cidr}")


def dump_addresses() -> Message:
    body = struct.pack("=BBBBi", socket.AF_UNSPEC, 0, 0, 0, 0)
    return Message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, body, "list addresses")


def _route_body(destination: str, gateway: str, index: int) -> bytes:
    everything = "::/0" if ":" in gateway else "0.0.0.0/0"
    network, _, length = (everything if destination == "default" else destination).partition("/")
    packed, prefix = address_bytes(network), int(length)
    ipv6 = len(packed) == _IPV6_BYTES
    scope = RT_SCOPE_UNIVERSE if gateway or ipv6 else RT_SCOPE_LINK
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    body = struct.pack("=BBBBBBBBI", family, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, 0)
    if prefix:
        body += attribute(RTA_DST, packed)
    if gateway:
        body += attribute(RTA_GATEWAY, address_bytes(gateway))
    if index:
        body += u32(RTA_OIF, index)
    return body


def add_route(destination: str, *, gateway: str = "", index: int = 0) -> Message:
    """A route in the main table; `destination` is "default" or a CIDR. At least one of gateway and link index is
    given.
    """
    return Message(RTM_NEWROUTE, NEW, _route_body(destination, gateway, index), f"add route {destination} via {gateway or index}")


def put_connected(index: int, cidr: str) -> Message:
    """The route to the subnet of an address of the link, as the kernel makes it itself."""
    interface = ipaddress.ip_interface(cidr)
    family, scope = (socket.AF_INET, RT_SCOPE_LINK) if interface.version == 4 else (socket.AF_INET6, RT_SCOPE_UNIVERSE)
    network = interface.network
    body = struct.pack("=BBBBBBBBI", family, network.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_KERNEL, scope, RTN_UNICAST, 0)
    body += attribute(RTA_DST, network.network_address.packed) + u32(RTA_OIF, index)
    body += attribute(RTA_PREFSRC, interface.ip.packed) if interface.version == 4 else u32(RTA_PRIORITY, IPV6_CONNECTED_METRIC)
    return Message(RTM_NEWROUTE, PUT, body, f"add route {network} of {cidr}")


def delete_route(destination: str, *, gateway: str = "", index: int = 0) -> Message:
    return Message(RTM_DELROUTE, CHANGE, _route_body(destination, gateway, index), f"delete route {destination}")


def dump_routes() -> Message:
    body = struct.pack("=BBBBBBBBI", socket.AF_UNSPEC, 0, 0, 0, RT_TABLE_MAIN, 0, 0, 0, 0)
    return Message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, body, "list routes")
