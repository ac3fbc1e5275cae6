"""nftables tables that are made again and again, as the messages that make them.

libnftables makes such a table once, in a namespace of nobody's; the kernel's own account of it is in the form in which it takes it too, and is sent from then
on: no context, no listings, one datagram. Only for tables without sets and maps, which rules name by numbers of their own. Sources: linux/netfilter/nfnetlink.h
(batches), linux/netfilter/nf_tables.h, nfnetlink_rcv_batch in net/netfilter/nfnetlink.c.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from netfabric.netlink import netns
from netfabric.netlink.exchange import Answer
from netfabric.netlink.messages import CHANGE, NETLINK_NETFILTER, NEW, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, Message, attribute, attributes
from netfabric.netlink.nfmessages import GET_CHAIN, GET_RULE, GET_SET, GET_TABLE, HEADER, NEW_CHAIN, NEW_RULE, NEW_TABLE, begin, end
from netfabric.netlink.nftables import Nftables
from netfabric.netlink.socket import SyncNetlink

TABLES_KEPT: Final = 16
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
            tables, chains, rules, sets = (netlink.request(_dump(kind))[0] for kind in (GET_TABLE, GET_CHAIN, GET_RULE, GET_SET))
    finally:
        os.close(namespace)
    if sets:
        return ()
    return (
        *_made(tables, NEW_TABLE, NEW, _TABLE_ATTRIBUTES),
        *_made(chains, NEW_CHAIN, NEW, _CHAIN_ATTRIBUTES),
        *_made(rules, NEW_RULE, CHANGE | NLM_F_CREATE | NLM_F_APPEND, _RULE_ATTRIBUTES),
    )


def carry_out(namespace: int, messages: Sequence[Message]) -> None:
    """One transaction in the namespace behind the descriptor. Raises NetlinkError where it is refused (nothing of it is done then), OSError."""
    with SyncNetlink(namespace, NETLINK_NETFILTER) as netlink:
        netlink.transact(begin(), messages, end())


def _dump(kind: int) -> Message:
    return Message(kind, NLM_F_REQUEST | NLM_F_DUMP, HEADER.pack(0, 0, 0), "list nftables")


def _made(listed: Answer, kind: int, flags: int, kept: set[int]) -> Iterator[Message]:
    for _, payload in listed:
        body = b"".join(attribute(number, value) for number, value in attributes(payload, HEADER.size) if number in kept)
        yield Message(kind, flags, payload[: HEADER.size] + body, "make a table of rules")
