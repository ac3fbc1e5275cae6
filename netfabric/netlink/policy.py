"""Routing by mark: a rule that leads packets with a mark to a table of their own, and the one default route in it.

Both are ours by their protocol, so that what a container's own programs set up (protocol boot) is never touched. Sources: rtnetlink(7), linux/fib_rules.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator

from netfabric.netlink.exchange import Answer
from netfabric.netlink.messages import (
    CHANGE,
    NEW,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    RT_SCOPE_UNIVERSE,
    RTA_GATEWAY,
    RTA_OIF,
    RTN_UNICAST,
    RTPROT_STATIC,
    Message,
    attribute,
    attributes,
    u8,
    u32,
)

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RULE_PRIORITY = 100  # before the main table (32766)
_RTA_TABLE = 15
_FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_PROTOCOL = 6, 10, 15, 21
_FR_ACT_TO_TBL = 1
_RT_TABLE_COMPAT = 252
_LAST_SYSTEM_TABLE = 255


def add_return(index: int, gateway: str, mark: int, table: int) -> tuple[Message, Message]:
    """Packets with the mark leave by the gateway on this link."""
    what = f"return path by {gateway}"
    return Message(RTM_NEWROUTE, NEW, _route(index, gateway, table), what), Message(RTM_NEWRULE, NEW, _rule(mark, table), what)


def delete_return(index: int, gateway: str, mark: int, table: int) -> tuple[Message, Message]:
    what = f"delete return path by {gateway}"
    return Message(RTM_DELRULE, CHANGE, _rule(mark, table), what), Message(RTM_DELROUTE, CHANGE, _route(index, gateway, table), what)


def dump_rules() -> Message:
    return Message(RTM_GETRULE, NLM_F_REQUEST | NLM_F_DUMP, struct.pack("=B11x", socket.AF_INET), "list rules")


def dump_tables() -> Message:
    """The routes of every table."""
    return Message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, struct.pack("=B11x", socket.AF_INET), "list routes of all tables")


def seen_rules(answer: Answer) -> Iterator[tuple[int, int]]:
    """(mark, table) of our rules in a dump."""
    for _, payload in answer:
        found = dict(attributes(payload, 12))
        if found.get(_FRA_PROTOCOL) == bytes([RTPROT_STATIC]) and _FRA_FWMARK in found:
            yield _number(found[_FRA_FWMARK]), _number(found.get(_FRA_TABLE, b""))


def seen_routes(answer: Answer) -> Iterator[tuple[int, int, str]]:
    """(table, number of the link, gateway) of our default routes in tables of their own."""
    for _, payload in answer:
        protocol = payload[5]
        found = dict(attributes(payload, 12))
        table = _number(found.get(_RTA_TABLE, b""))
        if protocol == RTPROT_STATIC and table > _LAST_SYSTEM_TABLE and RTA_GATEWAY in found:
            yield table, _number(found.get(RTA_OIF, b"")), str(ipaddress.IPv4Address(found[RTA_GATEWAY]))


def _route(index: int, gateway: str, table: int) -> bytes:
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, _RT_TABLE_COMPAT, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
    return header + u32(_RTA_TABLE, table) + attribute(RTA_GATEWAY, socket.inet_pton(socket.AF_INET, gateway)) + u32(RTA_OIF, index)


def _rule(mark: int, table: int) -> bytes:
    header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, _RT_TABLE_COMPAT, 0, 0, _FR_ACT_TO_TBL, 0)
    return header + u32(_FRA_PRIORITY, RULE_PRIORITY) + u32(_FRA_FWMARK, mark) + u32(_FRA_TABLE, table) + u8(_FRA_PROTOCOL, RTPROT_STATIC)


def _number(value: bytes) -> int:
    return struct.unpack("=I", value)[0] if len(value) == 4 else 0
