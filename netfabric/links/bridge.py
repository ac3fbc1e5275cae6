"""Bridges and their ports. Sources: linux/if_link.h (IFLA_BR_*, IFLA_BRPORT_*), bridge(8)."""

from __future__ import annotations

import socket

from netfabric.netlink.messages import (
    CHANGE,
    IFLA_PROTINFO,
    RTM_SETLINK,
    Message,
    link_attributes,
    link_header,
    nested,
    new_link,
    u8,
    u16,
    u32,
)

IFLA_BRPORT_MODE = 4
IFLA_BRPORT_LEARNING = 8
IFLA_BRPORT_ISOLATED = 33
_IFLA_BR_STP_STATE = 5
_IFLA_BR_VLAN_DEFAULT_PVID = 39


def new_bridge(name: str, *, index: int = 0, mac: str = "", mtu: int = 0, group: int | None = None) -> Message:
    """A bridge that is up, without spanning tree and VLANs."""
    data = u32(_IFLA_BR_STP_STATE, 0) + u16(_IFLA_BR_VLAN_DEFAULT_PVID, 0)
    return new_link("bridge", name, index=index, data=data, attributes=link_attributes(mac=mac, mtu=mtu, group=group))


def set_port(index: int, *, learning: bool, isolated: bool, hairpin: bool = False) -> Message:
    """A port's behaviour: whether the bridge learns addresses from it, whether it is kept from the other isolated
    ports, and whether frames may leave by the port that they came in by.
    """
    body = link_header(index, family=socket.AF_BRIDGE)
    body += nested(
        IFLA_PROTINFO,
        u8(IFLA_BRPORT_MODE, hairpin),
        u8(IFLA_BRPORT_LEARNING, learning),
        u8(IFLA_BRPORT_ISOLATED, isolated),
    )
    return Message(RTM_SETLINK, CHANGE, body, f"change bridge port {index}")
