"""Pairs of virtual Ethernet links, made in place: one message creates both ends, each in its own namespace.

Moving or renaming a link afterwards costs tens of milliseconds; this costs one. Each end is asked for with the one queue that it
uses: otherwise the kernel makes one per processor and takes them away again, and waits for its readers at each end.
Sources: veth(4), linux/veth.h, veth_init_queues in drivers/net/veth.c.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

from netfabric.netlink.messages import IFLA_NUM_RX_QUEUES, IFLA_NUM_TX_QUEUES, Message, attribute, link_attributes, link_header, new_link, u32

_VETH_INFO_PEER = 1
_NLA_F_NESTED = 0x8000
ADDRESSES_KEPT: Final = 16_384
"""A plan asks for each endpoint's again."""
_ONE_QUEUE: Final = u32(IFLA_NUM_TX_QUEUES, 1) + u32(IFLA_NUM_RX_QUEUES, 1)


@lru_cache(maxsize=ADDRESSES_KEPT)
def mac_of(address: str) -> str:
    """Docker's MAC of an IPv4 address: 02:42 and its four bytes."""
    return "02:42:" + ipaddress.IPv4Address(address).packed.hex(":")


def new_veth(
    name: str,
    peer_name: str,
    peer_namespace: int | None,
    *,
    index: int = 0,
    peer_index: int = 0,
    mtu: int = 0,
    master: int | None = None,
    mac: str = "",
    peer_mac: str = "",
    group: int | None = None,
) -> Message:
    """A pair whose first end is in the socket's namespace, up, and a port of the bridge `master`; the other end is
    in the namespace behind the descriptor `peer_namespace` (None: the same), down, as the kernel wants it.
    `group` is the first end's. The peer's index is honoured only when the first end's is given too.
    """
    peer = link_header(peer_index) + link_attributes(name=peer_name, mtu=mtu, mac=peer_mac, namespace=peer_namespace) + _ONE_QUEUE
    own = link_attributes(mtu=mtu, master=master, mac=mac, group=group) + _ONE_QUEUE
    return new_link("veth", name, index=index, data=attribute(_VETH_INFO_PEER | _NLA_F_NESTED, peer), attributes=own)
