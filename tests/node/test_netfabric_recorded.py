"""Tables of rules that are made from a recording are those that libnftables makes, and nothing else is touched by one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import trio

from netfabric.apply import open_fabric
from netfabric.firewall import resolver
from netfabric.firewall.nftables import Chain, Map, Table, whole
from netfabric.firewall.rules import TABLE
from netfabric.netlink import netns
from netfabric.netlink.exchange import NetlinkError
from netfabric.netlink.nftables import Nftables
from netfabric.netlink.recorded import carry_out, recorded
from netfabric.view import Bridge, Interface, Sandbox, View

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

COMMANDS = whole(Table(TABLE, resolver.CHAINS))
VIEW = View(bridges=(Bridge("lan", "10.9.0.0/24", "10.9.0.1/24"),), sandboxes=(Sandbox("c" * 12, (Interface("eth0", "lan", "10.9.0.2/24"),), resolver=True),))


@pytest.fixture
def namespace() -> Iterator[int]:
    made = netns.create_anonymous()
    yield made
    os.close(made)


def listing(namespace: int) -> str:
    with Nftables(namespace) as nftables:
        return nftables.run("list ruleset")


def test_a_recording_makes_what_was_recorded(namespace: int) -> None:
    other = netns.create_anonymous()
    try:
        with Nftables(other) as nftables:
            nftables.run(COMMANDS)
        carry_out(namespace, recorded(COMMANDS))
        assert listing(namespace) == listing(other)
    finally:
        os.close(other)


def test_a_recording_does_nothing_where_the_name_is_taken(namespace: int) -> None:
    with Nftables(namespace) as nftables:
        nftables.run(f"add table ip {TABLE}\nadd chain ip {TABLE} MINE\n")
    before = listing(namespace)
    with pytest.raises(NetlinkError, match="File exists"):
        carry_out(namespace, recorded(COMMANDS))
    assert listing(namespace) == before


def test_rules_that_speak_of_sets_are_not_recorded() -> None:
    named = Table(TABLE, (Chain("A", ("ip saddr vmap @m",)),), (Map("m", "type ipv4_addr : verdict;"),))
    unnamed = Table(TABLE, (Chain("A", ("tcp dport { 1, 3 } accept",)),))
    assert recorded(whole(named)) == recorded(whole(unnamed)) == ()


def test_a_namespace_that_has_such_a_table_already_gets_ours_in_its_place(namespace: int, tmp_path: object) -> None:
    sandbox = netns.create_anonymous()
    try:
        with Nftables(sandbox) as nftables:
            nftables.run(f"add table ip {TABLE}\nadd chain ip {TABLE} MINE\n")

        async def main() -> None:
            async with open_fabric(str(tmp_path), namespace=namespace) as fabric:
                with fabric.offering("c" * 12, sandbox):
                    await fabric.reconcile(VIEW)
                assert "MINE" not in listing(sandbox)
                assert await fabric.difference(VIEW) == ()
                await fabric.reconcile(View())

        trio.run(main)
    finally:
        os.close(sandbox)
