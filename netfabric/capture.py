"""Packets of one namespace as they pass, in pcap's file format. Reads only, and only for as long as somebody takes what it reads.

Bounded by count, time and octets. What the reader is too slow for the kernel drops. Sources: packet(7), pcap-savefile(5).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

import trio

from netfabric.netlink import netns

SNAP_OCTETS: Final = 262_144
"""Of each packet at most, as tcpdump."""
COUNT_MAX: Final = 10_000_000
DURATION_MAX_S: Final = 24 * 3600
OCTETS_MAX: Final = 4 * 1024**3
"""A capture that nobody bounds ends here."""
BUFFER_OCTETS: Final = 8 * 1024 * 1024
BATCH: Final = 256
_MICROSECONDS, _ETHERNET = 0xA1B2C3D4, 1
_ETH_P_ALL = 0x0003
_SOL_PACKET, _ADD_MEMBERSHIP, _PROMISCUOUS = 263, 1, 1
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33
_MSG_TRUNC = 0x20


@dataclass(frozen=True, slots=True)
class Limits:
    """0: only the bounds above."""

    count: int = 0
    duration_s: float = 0
    snap_octets: int = SNAP_OCTETS


def file_header(snap_octets: int) -> bytes:
    return struct.pack("=IHHiIII", _MICROSECONDS, 2, 4, 0, 0, snap_octets, _ETHERNET)


def packet(time_ns: int, data: bytes, octets: int) -> bytes:
    """One packet of which `data` was kept; `octets` is its whole length."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return struct.pack("=IIII", seconds & 0xFFFFFFFF, rest // 1000, len(data), octets) + data


def open_socket(namespace: str, link: str) -> socket.socket:
    """A socket that hears every packet of one link (all links: "") of the namespace bound to the path ("": this thread's own). Raises OSError."""
    if namespace:
        with netns.visiting(namespace):
            return _listening(link)
    return _listening(link)


def _listening(link: str) -> socket.socket:
    heard = 0 if link else socket.htons(_ETH_P_ALL)  # deaf until it is bound to its link
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, heard)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_OCTETS)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if link:
            sock.bind((link, _ETH_P_ALL))
            everything = struct.pack("=iHH8x", socket.if_nametoindex(link), _PROMISCUOUS, 0)
            sock.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, everything)  # a bridge hears what it passes on only then
    except OSError:
        sock.close()
        raise
    return sock


async def capture(sock: socket.socket, limits: Limits) -> AsyncGenerator[bytes, None]:
    """The file's header, then packets in pieces as they come, until a limit is reached or nobody reads on. Closes the socket."""
    left = min(limits.count or COUNT_MAX, COUNT_MAX)
    room = OCTETS_MAX
    end = trio.current_time() + min(limits.duration_s or DURATION_MAX_S, DURATION_MAX_S)
    with sock:
        buffer = bytearray(limits.snap_octets)
        yield file_header(limits.snap_octets)
        while left > 0 and room > 0:
            with trio.move_on_at(end) as patience:
                await trio.lowlevel.wait_readable(sock)
            if patience.cancelled_caught:
                return
            piece = bytearray()
            for one in _read(sock, min(left, BATCH), buffer):
                piece += one
                left -= 1
            room -= len(piece)
            if piece:
                yield bytes(piece)


def _read(sock: socket.socket, count: int, buffer: bytearray) -> list[bytes]:
    found = []
    for _ in range(count):
        try:
            octets, control, _, _ = sock.recvmsg_into([buffer], socket.CMSG_SPACE(16), _MSG_TRUNC)
        except (BlockingIOError, OSError):  # nothing more now, or the link has gone
            break
        time_ns = next((_nanoseconds(value) for level, kind, value in control if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS)), 0)
        found.append(packet(time_ns, bytes(buffer[:octets]), octets))
    return found


def _nanoseconds(value: bytes) -> int:
    seconds, nanoseconds = struct.unpack("=qq", value)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
