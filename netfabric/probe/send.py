"""The probe itself: one echo request, or one TCP connection that is closed at once, from a namespace. Sources: RFC 792, RFC 4443, raw(7)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final

import trio

from netfabric.netlink import netns

PATIENCE_S: Final = 3.0
"""How long an answer is waited for."""
_DATA_OCTETS: Final = 40
_ECHO, _ECHO6, _REPLIES = 8, 128, (0, 129)


@dataclass(frozen=True, slots=True)
class Sent:
    """`port`: the connection's own, 0 for an echo. `problem`: empty when it was answered."""

    port: int
    microseconds: int
    problem: str = ""


async def echo(namespace: int, address: str, key: int) -> Sent:
    """Raises OSError when it can't be sent."""
    wide = ":" in address
    with netns.in_namespace(namespace):
        raw = socket.socket(socket.AF_INET6 if wide else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if wide else socket.IPPROTO_ICMP)
    with trio.socket.from_stdlib_socket(raw) as sock:
        data = struct.pack("!Q", key).ljust(_DATA_OCTETS, b"\0")
        begin = trio.current_time()
        await sock.sendto(_request(_ECHO6 if wide else _ECHO, key & 0xFFFF, data), (address, 0))
        with trio.move_on_after(PATIENCE_S):
            while True:
                packet, _ = await sock.recvfrom(512)
                body = packet if wide else packet[(packet[0] & 0xF) * 4 :]
                if body[0] in _REPLIES and body[8 : 8 + len(data)] == data:
                    return Sent(0, _microseconds(begin))
        return Sent(0, 0, f"no answer within {PATIENCE_S:g} s")


async def connect(namespace: int, address: str, port: int) -> Sent:
    """Raises OSError when nothing can be sent at all; a refusal is a problem that is told."""
    with netns.in_namespace(namespace):
        sock = trio.socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    with sock:
        await sock.bind(("::" if ":" in address else "0.0.0.0", 0))  # noqa: S104  only to know the port
        own = sock.getsockname()[1]
        begin = trio.current_time()
        with trio.move_on_after(PATIENCE_S):
            try:
                await sock.connect((address, port))
            except OSError as error:
                if error.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT):
                    return Sent(own, 0, (os.strerror(error.errno)).lower())
                raise
            return Sent(own, _microseconds(begin))
        return Sent(own, 0, f"no answer within {PATIENCE_S:g} s")


def _microseconds(begin: float) -> int:
    return int((trio.current_time() - begin) * 1_000_000)


def _request(kind: int, identifier: int, data: bytes) -> bytes:
    """`identifier`: another one each time, or the connection's tracking takes it for what went before."""
    head = struct.pack("!BBHHH", kind, 0, 0, identifier, 1)
    return struct.pack("!BBHHH", kind, 0, _checksum(head + data), identifier, 1) + data  # the kernel makes ICMPv6's anew


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
