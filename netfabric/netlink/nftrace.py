"""What nftables does with packets that a rule has marked with `meta nftrace set 1`: verdict by verdict, as the kernel tells it.

Owns the listening socket of one namespace. Sources: linux/netfilter/nf_tables.h (NFTA_TRACE_*), nft(8) monitor trace.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from netfabric.netlink.messages import NETLINK_NETFILTER, attributes
from netfabric.netlink.socket import READ_BYTES, subscribe

_GROUP = 9  # NFNLGRP_NFTRACE
_TRACE = 10 << 8 | 17  # NFNL_SUBSYS_NFTABLES, NFT_MSG_TRACE
_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _ID, _MARK, _DEFAULT = 1, 2, 3, 4, 5, 6, 14, 16
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2
_POLICY, _RULE = 1, 3
_FAMILIES: Final = {1: "inet", 2: "ip", 10: "ip6"}
_VERDICTS: Final = {0: "drop", 1: "accept", -1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"}
STEPS_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Step:
    """One rule's verdict on one packet (`packet` tells packets apart), or a chain's policy (`handle` 0)."""

    packet: int
    family: str
    table: str
    chain: str
    handle: int
    verdict: str
    mark: int = 0


class Tracer:
    """Listens from its making on."""

    def __init__(self, namespace: int) -> None:
        """Raises OSError."""
        self._socket = subscribe(namespace, NETLINK_NETFILTER, (_GROUP,))

    def close(self) -> None:
        self._socket.close()

    def heard(self) -> tuple[Step, ...]:
        """What has been told since, without waiting; at most STEPS_MAX."""
        steps: list[Step] = []
        raw = socket.socket(fileno=self._socket.fileno())
        try:
            while len(steps) < STEPS_MAX:
                try:
                    steps += steps_of(raw.recv(READ_BYTES))
                except OSError:  # nothing more, or more than could be kept
                    break
        finally:
            raw.detach()
        return tuple(steps)


def steps_of(data: bytes) -> Iterator[Step]:
    """Reads one datagram. Pure."""
    offset = 0
    while offset + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 20:
            return
        if kind == _TRACE and (step := _step(data[offset + 16 : offset + length])) is not None:
            yield step
        offset += (length + 3) & ~3


def _step(payload: bytes) -> Step | None:
    found = dict(attributes(payload, 4))
    kind = _number(found.get(_TYPE, b""))
    if kind not in (_POLICY, _RULE) or (kind == _RULE and _HANDLE not in found):
        return None
    verdict = dict(attributes(found.get(_VERDICT, b"")))
    code = _number(verdict.get(_VERDICT_CODE, b"") if kind == _RULE else found.get(_DEFAULT, b""))
    code = code - (1 << 32) if code & 1 << 31 else code
    word = _VERDICTS.get(code, str(code))
    if target := _text(verdict.get(_VERDICT_CHAIN, b"")):
        word += f" {target}"
    family = _FAMILIES.get(payload[0], str(payload[0]))
    handle = _number(found.get(_HANDLE, b"")) if kind == _RULE else 0
    packet, mark = _number(found.get(_ID, b"")), _number(found.get(_MARK, b""))
    return Step(packet, family, _text(found.get(_TABLE, b"")), _text(found.get(_CHAIN, b"")), handle, word, mark)


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
