"""nftables tables that are made again and again, as the messages that make them.

libnftables makes such a table once, in a namespace of nobody's; the kernel's own account of it is in the form in which it takes it too, and is sent from then
on: no context, no listings, one datagram. Only for tables without sets and maps, which rules name by numbers of their own. Sources: linux/netfilter/nfnetlink.h
(batches), linux/netfilter/nf_tables.h, nfnetlink_rcv_batch in net/netfilter/nfnetlink.c.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from netfabric.netlink import netns
from netfabric.netlink.exchange import Answer
from netfabric.netlink.messages import (
    CHANGE,
    NETLINK_NETFILTER,
    NEW,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Message,
    attribute,
    attributes,
)
from netfabric.netlink.nftables import Nftables
from netfabric.netlink.socket import SyncNetlink

TABLES_KEPT: Final = 16
_NFTABLES = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _GET_TABLE, _NEW_CHAIN, _GET_CHAIN, _NEW_RULE, _GET_RULE, _GET_SET = (_NFTABLES << 8 | number for number in (0, 1, 3, 4, 6, 7, 10))
_NFPROTO_UNSPEC = 0
_HEADER: Final = struct.Struct("!BBH")  # struct nfgenmsg
_TABLE_ATTRIBUTES: Final = {1, 2}  # name, flags
_CHAIN_ATTRIBUTES: Final = {1, 3, 4, 5, 7, 10}  # table, name, hook, policy, type, flags; not: its handle, its number of rules
_RULE_ATTRIBUTES: Final = {1, 2, 4, 7}  # table, chain, expressions, user data; not: its handle, its position


@lru_cache(maxsize=TABLES_KEPT)
def recorded(commands: str) -> tuple[Message, ...]:
    """The messages that do what these commands do in a namespace without tables. Empty where that can't be told by messages alone. Raises NftablesError,
    OSError.
    """
    namespace = netns.create_anonymous()
    try:
        with Nftables(namespace) as nftables, SyncNetlink(namespace, NETLINK_NETFILTER) as netlink:
            nftables.run(commands)
            tables, chains, rules, sets = (netlink.request(_dump(kind))[0] for kind in (_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_SET))
    finally:
        os.close(namespace)
    if sets:
        return ()
    return (
        *_made(tables, _NEW_TABLE, NEW, _TABLE_ATTRIBUTES),
        *_made(chains, _NEW_CHAIN, NEW, _CHAIN_ATTRIBUTES),
        *_made(rules, _NEW_RULE, CHANGE | NLM_F_CREATE | NLM_F_APPEND, _RULE_ATTRIBUTES),
    )


def carry_out(namespace: int, messages: Sequence[Message]) -> None:
    """One transaction in the namespace behind the descriptor. Raises NetlinkError where it is refused (nothing of it is done then), OSError."""
    begin, end = (Message(kind, NLM_F_REQUEST, _HEADER.pack(_NFPROTO_UNSPEC, 0, _NFTABLES), "transact") for kind in (_BATCH_BEGIN, _BATCH_END))
    with SyncNetlink(namespace, NETLINK_NETFILTER) as netlink:
        netlink.transact(begin, messages, end)


def _dump(kind: int) -> Message:
    return Message(kind, NLM_F_REQUEST | NLM_F_DUMP, _HEADER.pack(_NFPROTO_UNSPEC, 0, 0), "list nftables")


def _made(listed: Answer, kind: int, flags: int, kept: set[int]) -> Iterator[Message]:
    for _, payload in listed:
        body = b"".join(attribute(number, value) for number, value in attributes(payload, _HEADER.size) if number in kept)
        yield Message(kind, flags, payload[: _HEADER.size] + body, "make a table of rules")
