"""nf_tables' own messages, packed by hand: what frames a transaction, and the one change that is made often, a service's chain that gets other servers.

Everything else is libnftables' (netlink/nftables.py), which first asks the kernel for all that there is. The chain reads in a listing as libnftables would
have made it, so that both ways are one to whoever compares. Pure bytes. Sources: linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h; the set's user data
from libnftnl's udata.h and nftables' netlink.c.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from netfabric.netlink.messages import CHANGE, NEW, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, Message, address_bytes, attribute, text

NFTABLES: Final = 10
HEADER: Final = struct.Struct("!BBH")  # struct nfgenmsg: family, version, resource
PICKED_MAX: Final = 1024
"""Addresses of one transaction: an attribute has 64 KB."""
FAMILIES: Final = {"ip": socket.AF_INET, "ip6": socket.AF_INET6}  # NFPROTO_IPV4, NFPROTO_IPV6
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
NEW_TABLE, GET_TABLE, NEW_CHAIN, GET_CHAIN, NEW_RULE, GET_RULE, DEL_RULE, NEW_SET, GET_SET, NEW_ELEMENTS = (
    NFTABLES << 8 | number for number in (0, 1, 3, 4, 6, 7, 8, 9, 10, 12)
)
_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_LENGTH, _SET_DATA_TYPE, _SET_DATA_LENGTH, _SET_DESCRIPTION, _SET_ID, _SET_USERDATA = 2, 3, 4, 5, 6, 7, 9, 10, 13
_SET_SIZE = 1
_ANONYMOUS_CONSTANT_MAP = 0x1 | 0x2 | 0x8
_INTEGER, _IPV4_ADDRESS, _IPV6_ADDRESS = 4, 7, 8  # libnftables' numbers of types
_USERDATA: Final = bytes((0, 4)) + struct.pack("=I", 1) + bytes((1, 4)) + struct.pack("=I", 2) + bytes((6, 4)) + struct.pack("=I", 0)
"""The key is in the host's order, the data in the network's; the data are no intervals."""
_ELEMENTS_SET, _ELEMENTS, _ELEMENTS_SET_ID = 2, 3, 4
_ELEMENT_KEY, _ELEMENT_DATA, _VALUE, _LISTED = 1, 2, 1, 1
_NESTED = 0x8000
_UNNAMED = "__map%d"
_REGISTER, _SECOND_REGISTER = 1, 2
_NETWORK_HEADER = 1
_DESTINATION = 1  # NFT_NAT_DNAT


def begin() -> Message:
    return Message(_BATCH_BEGIN, NLM_F_REQUEST, HEADER.pack(0, 0, NFTABLES), "begin a transaction")


def end() -> Message:
    return Message(_BATCH_END, NLM_F_REQUEST, HEADER.pack(0, 0, NFTABLES), "end a transaction")


def picking(family: str, table: str, chains: Mapping[str, tuple[Sequence[str], int | None]]) -> tuple[Message, ...]:
    """The messages, of one transaction, that empty each chain and give it one rule: "counter dnat to numgen inc mod N map {...}" over these addresses of the
    family's, or with a seed "counter dnat to jhash ip saddr ...". At most PICKED_MAX addresses in all, and at least one for each chain.
    """
    return tuple(
        message
        for number, (chain, (addresses, seed)) in enumerate(chains.items(), start=1)
        for message in _picking(family, table, chain, addresses, seed, number)
    )


def _picking(family: str, table: str, chain: str, addresses: Sequence[str], seed: int | None, map_number: int) -> tuple[Message, ...]:
    number, count, length = FAMILIES[family], len(addresses), len(address_bytes(addresses[0]))
    where = HEADER.pack(number, 0, 0) + text(_TABLE, table)
    described = (
        text(_SET_NAME, _UNNAMED),
        _u32(_SET_FLAGS, _ANONYMOUS_CONSTANT_MAP),
        _u32(_SET_KEY_TYPE, _INTEGER),
        _u32(_SET_KEY_LENGTH, 4),
        _u32(_SET_DATA_TYPE, _IPV6_ADDRESS if family == "ip6" else _IPV4_ADDRESS),
        _u32(_SET_DATA_LENGTH, length),
        _u32(_SET_ID, map_number),
        _nest(_SET_DESCRIPTION, _u32(_SET_SIZE, count)),
        attribute(_SET_USERDATA, _USERDATA),
    )
    listed = (_element(slot, address) for slot, address in enumerate(addresses))
    elements = (text(_ELEMENTS_SET, _UNNAMED), _u32(_ELEMENTS_SET_ID, map_number), _nest(_ELEMENTS, *listed))
    expressions = (
        _expression("counter"),
        *(_counted(count) if seed is None else _hashed(family, length, count, seed)),
        _expression("lookup", text(1, _UNNAMED), _u32(2, _REGISTER), _u32(3, _REGISTER), _u32(4, map_number)),
        _expression("nat", _u32(1, _DESTINATION), _u32(2, number), _u32(3, _REGISTER)),
    )
    what = f"change chain {chain}"
    return (
        Message(DEL_RULE, CHANGE, where + text(_RULE_CHAIN, chain), what),
        Message(NEW_SET, NEW, where + b"".join(described), what),
        Message(NEW_ELEMENTS, CHANGE | NLM_F_CREATE, where + b"".join(elements), what),
        Message(NEW_RULE, CHANGE | NLM_F_CREATE | NLM_F_APPEND, where + text(_RULE_CHAIN, chain) + _nest(_RULE_EXPRESSIONS, *expressions), what),
    )


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def _nest(kind: int, *values: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(values))


def _element(slot: int, address: str) -> bytes:
    key, data = struct.pack("=I", slot), address_bytes(address)
    return _nest(_LISTED, _nest(_ELEMENT_KEY, attribute(_VALUE, key)), _nest(_ELEMENT_DATA, attribute(_VALUE, data)))


def _expression(name: str, *values: bytes) -> bytes:
    return _nest(_LISTED, text(1, name), _nest(2, *values))


def _counted(modulus: int) -> tuple[bytes]:
    return (_expression("numgen", _u32(1, _REGISTER), _u32(2, modulus), _u32(3, 0), _u32(4, 0)),)


def _hashed(family: str, length: int, modulus: int, seed: int) -> tuple[bytes, bytes]:
    source = 8 if family == "ip6" else 12
    return (
        _expression("payload", _u32(1, _SECOND_REGISTER), _u32(2, _NETWORK_HEADER), _u32(3, source), _u32(4, length)),
        _expression("hash", _u32(1, _SECOND_REGISTER), _u32(2, _REGISTER), _u32(3, length), _u32(4, modulus), _u32(5, seed), _u32(7, 0)),
    )
