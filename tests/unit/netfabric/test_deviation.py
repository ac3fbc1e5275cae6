"""What the kernel tells of nftables is judged by whole transactions, however it is cut up on the way."""

from __future__ import annotations

import pytest

from netfabric.deviation import Word, deviating, unfinished
from netfabric.firewall.nftables import Table
from netfabric.firewall.rules import TABLE
from netfabric.indexes import Indexes
from netfabric.netlink.messages import NETLINK_NETFILTER, NETLINK_ROUTE, text
from netfabric.netlink.nfmessages import DEL_RULE, HEADER, NFTABLES
from netfabric.state import NODE, Namespace

DESIRED = {NODE: Namespace(tables=(Table(TABLE),)), "other": Namespace(tables=(Table(TABLE),))}


def rule(namespace: str, table: str = TABLE) -> Word:
    return Word(namespace, NETLINK_NETFILTER, DEL_RULE, HEADER.pack(2, 0, 0) + text(1, table))


def end(namespace: str) -> Word:
    return Word(namespace, NETLINK_NETFILTER, NFTABLES << 8 | 15, HEADER.pack(0, 0, 0))


WORDS = (rule(NODE, "somebody's"), end(NODE), rule("other"), rule(NODE), rule(NODE), end("other"), Word(NODE, NETLINK_ROUTE, 0, b""), end(NODE))


@pytest.mark.parametrize("cut", range(len(WORDS) + 1))
def test_a_transaction_is_heard_of_wherever_we_are_woken_in_it(cut: int) -> None:
    first, begun = WORDS[:cut], unfinished(WORDS[:cut])
    second = (*begun, *WORDS[cut:])
    found = [*deviating(DESIRED, Indexes(), first), *deviating(DESIRED, Indexes(), second)]
    assert sorted(found) == [NODE, "other"], "each once"
    assert unfinished(second) == ()
