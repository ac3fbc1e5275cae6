"""Tracked connections: found by the address that answers them, and forgotten.

A translation lives in its connection, not in the rule that made it: a stream of datagrams to a server that is gone
would be sent there for as long as it goes on. What TCP has ended stays tracked for two minutes (TIME_WAIT) and goes
nowhere: a client that takes the same port again gets a new entry and another server. Such a one is never deleted, or a
port taken again after the listing would lose its new connection for the old one's sake.

Sources: linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_tcp.h, net/netfilter/nf_conntrack_proto_tcp.c, conntrack(8).
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator

from netfabric.netlink.exchange import Answer
from netfabric.netlink.messages import CHANGE, NLM_F_DUMP, NLM_F_REQUEST, Message, address_bytes, attribute, attributes, nested

_SUBSYSTEM = 1 << 8
_CT_GET, _CT_DELETE, _CT_GET_STATS = _SUBSYSTEM | 1, _SUBSYSTEM | 2, _SUBSYSTEM | 5
_STATS_ENTRIES = 1
_TUPLE_ORIGINAL, _TUPLE_REPLY, _PROTOCOL_INFO, _ID = 1, 2, 4, 12
_INFO_TCP, _TCP_STATE = 1, 1
TIME_WAIT = b"\x07"
_TUPLE_IP, _IP_SOURCE, _IP_DESTINATION = 1, 1, 2
_SOURCES = frozenset({_IP_SOURCE, 3})  # 3 and 4 are IPv6's
_HEADER_BYTES = 4


def _header(family: int) -> bytes:
    return struct.pack("=BBH", family, 0, 0)


def count_connections() -> Message:
    return Message(_CT_GET_STATS, CHANGE, _header(socket.AF_UNSPEC), "count connections")


def seen_count(answer: Answer) -> int:
    """How many connections the namespace has."""
    return sum(int.from_bytes(dict(attributes(payload, _HEADER_BYTES)).get(_STATS_ENTRIES, b""), "big") for _, payload in answer)


def dump_connections() -> Message:
    """Of both families. The kernel looks through its table for all namespaces, which takes milliseconds whatever this one has."""
    return Message(_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, _header(socket.AF_UNSPEC), "list connections")


def deletions(answer: Answer, servers: frozenset[str]) -> Iterator[Message]:
    """Deletes, of the connections in a dump, those that were translated to one of the plain addresses and may still carry something."""
    wanted = {address_bytes(server) for server in servers}
    for payload, server, found in _translated(answer):
        if server in wanted and _tcp_state(found) != TIME_WAIT:
            body = _header(payload[0]) + nested(_TUPLE_ORIGINAL, found[_TUPLE_ORIGINAL]) + attribute(_ID, found[_ID])
            yield Message(_CT_DELETE, CHANGE, body, "forget a connection")


def counted(answer: Answer, servers: Iterable[str]) -> dict[str, int]:
    """How many connections in a dump were translated to each of the plain addresses."""
    numbers = Counter(server for _, server, _ in _translated(answer))
    return {server: numbers[address_bytes(server)] for server in servers}


def _translated(answer: Answer) -> Iterator[tuple[bytes, bytes, dict[int, bytes]]]:
    """The entries whose destination was translated: payload, the address that answers, attributes."""
    for _, payload in answer:
        found = dict(attributes(payload, _HEADER_BYTES))
        original, reply = _ends(found.get(_TUPLE_ORIGINAL, b"")), _ends(found.get(_TUPLE_REPLY, b""))
        server = reply.get(_IP_SOURCE)
        if server is not None and original.get(_IP_DESTINATION) != server:
            yield payload, server, found


def _tcp_state(found: dict[int, bytes]) -> bytes:
    """Of another protocol: b""."""
    return dict(attributes(dict(attributes(found.get(_PROTOCOL_INFO, b""))).get(_INFO_TCP, b""))).get(_TCP_STATE, b"")


def _ends(value: bytes) -> dict[int, bytes]:
    """Source and destination address of a tuple, whichever its family."""
    found = attributes(dict(attributes(value)).get(_TUPLE_IP, b""))
    return {_IP_SOURCE if kind in _SOURCES else _IP_DESTINATION: address for kind, address in found}
