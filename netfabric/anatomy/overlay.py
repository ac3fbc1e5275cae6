"""What the namespace of an overlay looks like: a bridge, the tunnel to the other nodes, a port for each endpoint of this one. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from netfabric import encryption
from netfabric.anatomy.addresses import plain
from netfabric.anatomy.attachments import Attachment, ports_of
from netfabric.anatomy.sandbox import IPV6, LOOPBACK, NO_IPV6
from netfabric.links.veth import mac_of
from netfabric.reach import OVERLAY_TUNNEL, Reach
from netfabric.state import Address, Link, LinkKind, Namespace
from netfabric.view import Overlay, View

VXLAN_OVERHEAD_BYTES = 50
OVERLAY_BRIDGE = "br0"


def overlay_namespace(overlay_id: str) -> str:
    return f"1-{overlay_id[:10]}"


def overlay_mtu(view: View, overlay: Overlay) -> int:
    """What the underlay leaves for the overlay's packets; less where the user wants less."""
    room = view.underlay_mtu - VXLAN_OVERHEAD_BYTES
    if overlay.encrypted:
        room = (room - encryption.OVERHEAD_BYTES) // encryption.ALIGNMENT_BYTES * encryption.ALIGNMENT_BYTES
    return min(overlay.mtu, room) if overlay.mtu else room


def planned_overlay(
    _name: str,
    size: tuple[int, int, int],
    gateways: tuple[str, ...],
    attached: tuple[Attachment, ...],
    reach: Reach,
) -> Namespace:
    mtu, port, vni = size
    bridge = Link(OVERLAY_BRIDGE, LinkKind.BRIDGE, mac=mac_of(plain(gateways[0])))
    tunnel = Link(OVERLAY_TUNNEL, LinkKind.VXLAN, mtu=mtu, master=OVERLAY_BRIDGE, vni=vni, port=port, learning=False)
    return Namespace(
        links=(LOOPBACK, bridge, tunnel, *ports_of(attached, OVERLAY_BRIDGE, mtu)),
        addresses=tuple(Address(OVERLAY_BRIDGE, gateway) for gateway in gateways if gateway),
        neighbours=reach.neighbours,
        forwarding=reach.forwarding,
        sysctls=IPV6 if gateways[1] else NO_IPV6,
    )


def reached_otherwise(namespace: Namespace, _: tuple[Any, ...], now: tuple[Any, ...]) -> Namespace:
    reach: Reach = now[-1]
    return dataclasses.replace(namespace, neighbours=reach.neighbours, forwarding=reach.forwarding)
