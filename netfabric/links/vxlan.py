"""VXLAN links: created in the node's namespace, so that their UDP socket stays there, and born in the overlay's.

They learn nothing and flood nothing: neighbours and forwarding entries come from the cluster. The device answers
ARP for the neighbours that it knows (proxy). Sources: linux/if_link.h (IFLA_VXLAN_*), RFC 7348.
"""

from __future__ import annotations

from netfabric.netlink.messages import Message, link_attributes, new_link, u8, u16_network, u32

IFLA_VXLAN_ID = 1
IFLA_VXLAN_PORT = 15
_IFLA_VXLAN_LEARNING, _IFLA_VXLAN_PROXY = 7, 11


def new_vxlan(name: str, vni: int, namespace: int, *, port: int, index: int = 0, mtu: int = 0) -> Message:
    """A VXLAN link that is put, down, into the namespace behind the descriptor."""
    data = u32(IFLA_VXLAN_ID, vni) + u8(_IFLA_VXLAN_LEARNING, 0) + u8(_IFLA_VXLAN_PROXY, 1) + u16_network(IFLA_VXLAN_PORT, port)
    return new_link("vxlan", name, index=index, up=False, data=data, attributes=link_attributes(mtu=mtu, namespace=namespace))
