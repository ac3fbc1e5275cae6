"""Links as the kernel lists them: numbers, not names. Source: linux/if_link.h."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from netfabric.links.bridge import IFLA_BRPORT_ISOLATED, IFLA_BRPORT_LEARNING, IFLA_BRPORT_MODE
from netfabric.links.vxlan import IFLA_VXLAN_ID, IFLA_VXLAN_PORT
from netfabric.netlink import messages
from netfabric.netlink.messages import attributes


@dataclass(frozen=True, slots=True)
class SeenLink:
    """A link as the kernel tells it; numbers, not names."""

    index: int
    name: str
    kind: str = ""
    mtu: int = 0
    mac: str = ""
    master: int = 0
    group: int = 0
    up: bool = False
    other_end: int = 0
    vni: int = 0
    port: int = 0
    learning: bool = True
    isolated: bool = False
    hairpin: bool = False


def seen_link(payload: bytes) -> SeenLink:
    """Reads one RTM_NEWLINK."""
    _, _, index, flags, _ = struct.unpack_from("=BxHiII", payload)
    found = dict(attributes(payload, 16))
    info = dict(attributes(found.get(messages.IFLA_LINKINFO, b"")))
    data = dict(attributes(info.get(messages.IFLA_INFO_DATA, b"")))
    port = dict(attributes(info.get(messages.IFLA_INFO_SLAVE_DATA, b"")))
    kind = info.get(messages.IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
    vxlan = kind == "vxlan"
    return SeenLink(
        index=index,
        name=found[messages.IFLA_IFNAME].rstrip(b"\0").decode(),
        kind=kind,
        mtu=number(found.get(messages.IFLA_MTU, b"")),
        mac=messages.mac_text(found.get(messages.IFLA_ADDRESS, b"")),
        master=number(found.get(messages.IFLA_MASTER, b"")),
        group=number(found.get(messages.IFLA_GROUP, b"")),
        up=bool(flags & messages.IFF_UP),
        other_end=number(found.get(messages.IFLA_LINK, b"")),
        vni=number(data.get(IFLA_VXLAN_ID, b"")) if vxlan else 0,
        port=int.from_bytes(data.get(IFLA_VXLAN_PORT, b""), "big") if vxlan else 0,
        learning=bool(port.get(IFLA_BRPORT_LEARNING, b"\1")[0]),
        isolated=bool(port.get(IFLA_BRPORT_ISOLATED, b"\0")[0]),
        hairpin=bool(port.get(IFLA_BRPORT_MODE, b"\0")[0]),
    )


def number(value: bytes) -> int:
    """A 32-bit attribute; 0 when it is missing."""
    return int(struct.unpack("=I", value)[0]) if len(value) == 4 else 0
