"""A frame as a probe is looked for in it: who sends what to whom, and the number that no translation on the way changes. Pure, bounded, never raises.

Of an echo request the number is the first eight octets of its data, of a TCP connection's first packet the sequence number. Frames inside VXLAN are looked
into. Sources: RFC 791, 792, 793, 4443, 8200, 7348; filter(7) in the kernel's Documentation/networking for the filter.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, replace
from typing import Final

from netfabric.netlink.socket_filter import AND, EQUAL, LD_BYTE, LD_BYTE_X, LD_HALF, LD_HALF_X, LDX_HEADER, RETURN, Instruction, assembled

SNAP_OCTETS: Final = 256
"""What of a frame has to be kept to read it."""
_IPV4, _IPV6 = 0x0800, 0x86DD
_ICMP, _TCP, _UDP, _ICMP6 = 1, 6, 17, 58
_ECHO, _ECHO6 = 8, 128
_SYN, _ACK = 0x02, 0x10
_VXLAN_HEADER_OCTETS: Final = 8


@dataclass(frozen=True, slots=True)
class Passage:
    """`tunnel`: (sending VTEP, receiving VTEP, VNI) of a frame that was seen inside VXLAN."""

    source: str
    target: str
    mac: str  # that it is sent to
    what: str
    key: int
    tunnel: tuple[str, str, int] | None = None


def passage(frame: bytes, vxlan_port: int) -> Passage | None:
    """None: nothing that a probe could be."""
    try:
        return _ethernet(frame, vxlan_port)
    except (struct.error, IndexError):
        return None


def _ethernet(frame: bytes, vxlan_port: int) -> Passage | None:
    (kind,) = struct.unpack_from("!H", frame, 12)
    mac = frame[:6].hex(":")
    if kind == _IPV4:
        start = 14 + (frame[14] & 0xF) * 4
        source, target = (str(ipaddress.IPv4Address(frame[at : at + 4])) for at in (26, 30))
        return _transport(frame, start, frame[23], source, target, mac, vxlan_port)
    if kind == _IPV6:
        source, target = (str(ipaddress.IPv6Address(frame[at : at + 16])) for at in (22, 38))
        return _transport(frame, 54, frame[20], source, target, mac, 0)
    return None


def _transport(frame: bytes, start: int, protocol: int, source: str, target: str, mac: str, vxlan_port: int) -> Passage | None:
    if (protocol, frame[start]) in ((_ICMP, _ECHO), (_ICMP6, _ECHO6)):
        (key,) = struct.unpack_from("!Q", frame, start + 8)
        return Passage(source, target, mac, "echo request", key)
    if protocol == _TCP and frame[start + 13] & (_SYN | _ACK) == _SYN:
        port, to, key = struct.unpack_from("!HHI", frame, start)
        return Passage(source, target, mac, f"tcp {port} > {to} SYN", key)
    if protocol == _UDP and vxlan_port and struct.unpack_from("!H", frame, start + 2)[0] == vxlan_port:
        vni = int.from_bytes(frame[start + 12 : start + 15], "big")
        inner = _ethernet(frame[start + 8 + _VXLAN_HEADER_OCTETS :], 0)
        return replace(inner, tunnel=(source, target, vni)) if inner is not None else None
    return None


def socket_filter(vxlan_port: int) -> bytes:
    """A classic BPF program that lets through what `passage` reads, and little else."""
    program: tuple[Instruction, ...] = (
        (LD_HALF, 0, 0, 12),
        (EQUAL, 0, 10, _IPV4),
        (LD_BYTE, 0, 0, 23),
        (EQUAL, 11, 0, _ICMP),
        (LDX_HEADER, 0, 0, 14),
        (EQUAL, 0, 3, _TCP),
        (LD_BYTE_X, 0, 0, 27),
        (AND, 0, 0, _SYN | _ACK),
        (EQUAL, 6, 5, _SYN),
        (EQUAL, 0, 4, _UDP),
        (LD_HALF_X, 0, 0, 16),
        (EQUAL, 3, 2, vxlan_port),
        (EQUAL, 0, 1, _IPV6),
        (RETURN, 0, 0, SNAP_OCTETS),
        (RETURN, 0, 0, 0),
        (RETURN, 0, 0, SNAP_OCTETS),
    )
    return assembled(program)
