"""Permanent neighbours and forwarding entries: where a remote address lives.

A remote address is a neighbour on the VXLAN link (so that it answers ARP), an entry of the link's own table (MAC to
VTEP), and a static entry of the bridge (so that frames to it are not flooded). On a bridge a permanent entry would
mean "local" and swallow frames: there it is NOARP. Sources: linux/neighbour.h, rtnetlink(7).
"""

from __future__ import annotations

import socket
import struct

from netfabric.netlink.messages import (
    CHANGE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    PUT,
    Message,
    address_bytes,
    attribute,
    mac_bytes,
)

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80
NTF_SELF, NTF_MASTER = 0x2, 0x4
NDA_DST, NDA_LLADDR = 1, 2


def _body(family: int, index: int, state: int, flags: int, *, mac: str, address: str = "") -> bytes:
    packed = struct.pack("=BxHiHBB", family, 0, index, state, flags, 0)
    if address:
        packed += attribute(NDA_DST, address_bytes(address))
    return packed + attribute(NDA_LLADDR, mac_bytes(mac))


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def put_neighbour(index: int, address: str, mac: str) -> Message:
    return Message(
        RTM_NEWNEIGH,
        PUT,
        _body(_family(address), index, NUD_PERMANENT, 0, mac=mac, address=address),
        f"neighbour {address}",
    )


def delete_neighbour(index: int, address: str, mac: str) -> Message:
    body = _body(_family(address), index, NUD_PERMANENT, 0, mac=mac, address=address)
    return Message(RTM_DELNEIGH, CHANGE, body, f"delete neighbour {address}")


def put_forwarding(index: int, mac: str, vtep: str) -> Message:
    """The VXLAN link's own entry: frames to `mac` go to `vtep`."""
    body = _body(socket.AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF, mac=mac, address=vtep)
    return Message(RTM_NEWNEIGH, PUT, body, f"forward {mac} to {vtep}")


def delete_forwarding(index: int, mac: str, vtep: str) -> Message:
    body = _body(socket.AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF, mac=mac, address=vtep)
    return Message(RTM_DELNEIGH, CHANGE, body, f"stop forwarding {mac} to {vtep}")


def put_bridge_entry(index: int, mac: str) -> Message:
    """The bridge's entry: `mac` is behind the port `index`."""
    return Message(RTM_NEWNEIGH, PUT, _body(socket.AF_BRIDGE, index, NUD_NOARP, NTF_MASTER, mac=mac), f"bridge entry {mac}")


def delete_bridge_entry(index: int, mac: str) -> Message:
    body = _body(socket.AF_BRIDGE, index, NUD_NOARP, NTF_MASTER, mac=mac)
    return Message(RTM_DELNEIGH, CHANGE, body, f"delete bridge entry {mac}")


def dump_neighbours() -> Message:
    """Of both families; bridges' entries, which the kernel lists with them, are told by their family."""
    body = struct.pack("=BxHiHBB", socket.AF_UNSPEC, 0, 0, 0, 0, 0)
    return Message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, body, "list neighbours")


def dump_forwarding() -> Message:
    """Every bridge's and VXLAN link's entries."""
    body = struct.pack("=BxHiHBB", socket.AF_BRIDGE, 0, 0, 0, 0, 0)
    return Message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, body, "list forwarding entries")
