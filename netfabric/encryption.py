"""Encrypted overlays: which security associations, policies and guards a node needs. Pure.

Docker's scheme: ESP in transport mode around the VXLAN datagrams between two VTEPs, AES-GCM with the SPI as salt, selected by a mark that nftables sets
by the network's identifier. What comes in for such a network without having been encrypted is dropped, and without ESP in the kernel everything of it,
both ways: nothing of it ever leaves a node in the clear (CVE-2023-28840, -28841, -28842). Of a ring of keys all are accepted; the one before the newest is
used for sending, so that every node knows a key before somebody uses it. Source: moby libnetwork drivers/overlay/encryption.go.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from netfabric.state import Association, Guard, Policy
from netfabric.view import Key, Overlay, View

MARK = 0xD0C4E3
OVERHEAD_BYTES = 26
ALIGNMENT_BYTES = 4
TABLE = "festoon-encryption"
_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193


def spi(source: str, destination: str, tag: int) -> int:
    """The index of the association: FNV-1a of source, key's tag and destination, addresses as 16 bytes. Never one of those that RFC 4303 reserves."""
    value = _FNV_OFFSET
    for byte in _mapped(source) + struct.pack(">I", tag) + _mapped(destination):
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value if value > 255 else value + 256


def _mapped(address: str) -> bytes:
    return bytes(10) + b"\xff\xff" + ipaddress.IPv4Address(address).packed


def sending(keys: tuple[Key, ...]) -> Key:
    """Which key of the ring is used: the one before the newest where there are several."""
    ring = sorted(keys, key=lambda key: key.tag)
    return ring[-2] if len(ring) > 1 else ring[-1]


@dataclass(frozen=True, slots=True)
class Sealing:
    """What keeps a node's encrypted overlays sealed, and what it follows from."""

    inputs: tuple[object, ...] = field(repr=False)
    associations: frozenset[Association] = frozenset()
    policies: frozenset[Policy] = frozenset()
    guard: Guard | None = None


def sealing(view: View, vteps: frozenset[str], before: Sealing | None, *, esp: bool) -> Sealing:
    """`vteps`: of the nodes behind which there is something on an encrypted overlay. The same object as `before` where it follows from the same."""
    identifiers = frozenset(overlay.vni for overlay in view.overlays if overlay.encrypted)
    inputs = (view.vtep, vteps, view.keys, view.vxlan_port, identifiers, esp)
    if before is not None and before.inputs == inputs:
        return before
    guard = Guard(view.vxlan_port, esp, identifiers) if identifiers else None  # keeps cleartext of encrypted overlays out and in
    return Sealing(inputs, _associations(view, vteps), _policies(view, vteps), guard) if esp else Sealing(inputs, guard=guard)


def _associations(view: View, vteps: Iterable[str]) -> frozenset[Association]:
    """Both directions of every key, for every node."""
    found = set()
    for remote in vteps:
        for key in view.keys:
            for source, destination in ((view.vtep, remote), (remote, view.vtep)):
                found.add(Association(source, destination, spi(source, destination, key.tag), key.secret))
    return frozenset(found)


def _policies(view: View, vteps: Iterable[str]) -> frozenset[Policy]:
    if not view.keys:
        return frozenset()
    tag = sending(view.keys).tag
    return frozenset(Policy(view.vtep, remote, spi(view.vtep, remote, tag), view.vxlan_port) for remote in vteps)


def reachable(view: View, overlay: Overlay, *, esp: bool) -> bool:
    """Whether anything of the overlay may go to another node."""
    return not overlay.encrypted or (esp and bool(view.keys))


def commands(wanted: Guard | None) -> str:
    """The transaction that makes the guard's table what is wanted, in place of what is there."""
    text = f"add table ip {TABLE}\ndelete table ip {TABLE}\n"
    if wanted is None:
        return text
    selected = f"udp dport {wanted.port} @th,96,24 {{ {', '.join(f'{vni:#x}' for vni in sorted(wanted.identifiers))} }}"
    leaving = f"counter meta mark set {MARK:#x}" if wanted.esp else "counter drop"
    entering = "meta secpath missing " if wanted.esp else ""
    lines = [
        f"add table ip {TABLE}",
        f"add chain ip {TABLE} OUTPUT {{ type route hook output priority mangle; policy accept; }}",
        f"add chain ip {TABLE} POSTROUTING {{ type filter hook postrouting priority mangle; policy accept; }}",
        f"add chain ip {TABLE} INPUT {{ type filter hook input priority raw; policy accept; }}",
        f"add rule ip {TABLE} OUTPUT {selected} {leaving}",
        f"add rule ip {TABLE} INPUT {entering}{selected} counter drop",
    ]
    if wanted.esp:  # marked, but nothing that encrypts it: a policy is missing
        lines.append(f"add rule ip {TABLE} POSTROUTING rt ipsec missing {selected} counter drop")
    return text + "".join(f"{line}\n" for line in lines)
