"""Netlink requests and answers as a sans-IO machine: numbers requests, packs them into datagrams, and sorts the
answers by sequence number.

Owns no socket: netlink/socket.py moves the bytes, in trio or without. A datagram's requests are carried out in order
and each that fails is told, so only the last one asks for an acknowledgement: when that comes, the others are done too.
A dump is answered by its end. Answers to nobody (a cancelled request's) are dropped. Source: netlink(7), kernel
Documentation/userspace-api/netlink/intro, netlink_rcv_skb in net/netlink/af_netlink.c.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator, Sequence

from netfabric.netlink.messages import NLM_F_ACK, NLM_F_DUMP, Message, attributes

DATAGRAM_MESSAGES = 16
DATAGRAM_BYTES = 32 * 1024
"""Bounds of one datagram. The kernel carries it out while send() blocks (a millisecond for a link), and its
acknowledgements must fit into the socket's receive buffer.
"""

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSGERR_ATTR_MSG = 1

Answer = tuple[tuple[int, bytes], ...]
"""What the kernel sent for one request: (message type, payload without header)."""


class NetlinkError(OSError):
    """The kernel refused a request: errno, its own words and ours."""

    def __init__(self, code: int, reason: str, what: str) -> None:
        super().__init__(code, f"{what}: {os.strerror(code)}{f' ({reason})' if reason else ''}")
        self.what = what


class Pending:
    """One request on its way. `error` is set at most once, `done` ends it, and that of the `earlier` ones."""

    __slots__ = ("done", "earlier", "error", "parts", "sequence", "what")

    def __init__(self, sequence: int, what: str) -> None:
        self.sequence = sequence
        self.what = what
        self.parts: list[tuple[int, bytes]] = []
        self.error: NetlinkError | None = None
        self.done = False
        self.earlier: tuple[Pending, ...] = ()


class Exchange:
    """The conversation on one socket."""

    def __init__(self) -> None:
        self._sequence = itertools.count(1)
        self._pending: dict[int, Pending] = {}

    def prepare(self, messages: Sequence[Message]) -> tuple[bytes, list[Pending]]:
        """One datagram with all of them, and what to wait for."""
        data = bytearray()
        pending = []
        changes = [position for position, message in enumerate(messages) if message.flags & NLM_F_DUMP != NLM_F_DUMP]
        last = changes[-1] if changes else -1
        for position, message in enumerate(messages):
            one = Pending(next(self._sequence) & 0x7FFFFFFF, message.what)
            self._pending[one.sequence] = one
            pending.append(one)
            data += message.encoded(one.sequence, without=NLM_F_ACK if position < last else 0)
        if changes:
            pending[last].earlier = tuple(pending[position] for position in changes[:-1])
        return bytes(data), pending

    def forget(self, pending: Sequence[Pending]) -> None:
        for one in pending:
            self._pending.pop(one.sequence, None)

    def feed(self, data: bytes) -> None:
        """Takes what one recv() gave."""
        offset = 0
        while offset + 16 <= len(data):
            length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data, offset)
            if length < 16:
                return
            one = self._pending.get(sequence)
            if one is not None:
                payload = data[offset + 16 : offset + length]
                if kind == _NLMSG_ERROR:
                    one.done = True
                    one.error = _refusal(payload, flags, one.what)
                    for other in one.earlier:
                        other.done = True
                elif kind == _NLMSG_DONE:
                    one.done = True
                    (code,) = struct.unpack_from("=i", payload) if len(payload) >= 4 else (0,)
                    one.error = NetlinkError(-code, "", one.what) if code < 0 else None
                else:
                    one.parts.append((kind, payload))
            offset += (length + 3) & ~3


def _refusal(payload: bytes, flags: int, what: str) -> NetlinkError | None:
    (code,) = struct.unpack_from("=i", payload)
    if code == 0:
        return None
    reason = ""
    if flags & _NLM_F_ACK_TLVS:
        echoed = 16 if flags & _NLM_F_CAPPED else struct.unpack_from("=I", payload, 4)[0]
        for kind, value in attributes(payload, 4 + echoed):
            if kind == _NLMSGERR_ATTR_MSG:
                reason = value.rstrip(b"\0").decode(errors="replace")
    return NetlinkError(-code, reason, what)


def datagrams(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Cuts a long list into pieces that fit a datagram."""
    start = 0
    size = 0
    for position, message in enumerate(messages):
        length = 16 + len(message.body)
        if position > start and (position - start >= DATAGRAM_MESSAGES or size + length > DATAGRAM_BYTES):
            yield messages[start:position]
            start, size = position, 0
        size += length
    if start < len(messages):
        yield messages[start:]
