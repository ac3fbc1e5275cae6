"""What nftables is told without libnftables is what libnftables would have told it; nothing else is touched by it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import trio

from netfabric.apply import open_fabric
from netfabric.firewall import resolver
from netfabric.firewall.nftables import Chain, Map, Table, whole
from netfabric.firewall.rules import TABLE
from netfabric.ingress.nft import HASH_SEED
from netfabric.netlink import netns
from netfabric.netlink.exchange import NetlinkError
from netfabric.netlink.messages import NETLINK_NETFILTER, NLM_F_DUMP, NLM_F_REQUEST, Message
from netfabric.netlink.nfmessages import GET_RULE, GET_SET, HEADER, begin, end, picking
from netfabric.netlink.nftables import Nftables
from netfabric.netlink.recorded import carry_out, recorded
from netfabric.netlink.socket import SyncNetlink
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


@pytest.mark.parametrize("family", ["ip", "ip6"])
@pytest.mark.parametrize("seed", [None, HASH_SEED])
def test_a_service_s_servers_are_changed_as_libnftables_changes_them(family: str, seed: int | None) -> None:
    """Down to what the kernel keeps of it: the rules and the maps, with their user data."""
    addresses = {name: [f"10.0.{net}.{n}" if family == "ip" else f"fd00:{net}::{n:x}" for n in range(1, 12)] for net, name in enumerate(("A", "B"))}
    chosen = "numgen inc mod 11" if seed is None else f"jhash {family} saddr mod 11 seed {seed:#x}"
    rules = {name: f"counter dnat to {chosen} map {{ {', '.join(f'{slot} : {one}' for slot, one in enumerate(some))} }}" for name, some in addresses.items()}
    kept = []
    for text in (False, True):
        namespace = netns.create_anonymous()
        try:
            with Nftables(namespace) as nftables, SyncNetlink(namespace, NETLINK_NETFILTER) as netlink:
                nftables.run("".join(f"add table {family} t\nadd chain {family} t {name}\nadd rule {family} t {name} drop\n" for name in rules))
                if text:
                    nftables.run("".join(f"flush chain {family} t {name}\nadd rule {family} t {name} {rule}\n" for name, rule in rules.items()))
                else:
                    netlink.transact(begin(), picking(family, "t", {name: (some, seed) for name, some in addresses.items()}), end())
                dumps = (netlink.request(Message(kind, NLM_F_REQUEST | NLM_F_DUMP, HEADER.pack(0, 0, 0), "list")) for kind in (GET_RULE, GET_SET))
                kept.append((nftables.run("list ruleset"), *dumps))
        finally:
            os.close(namespace)
    assert kept[0] == kept[1]


def test_a_service_s_chain_that_is_gone_is_not_made_by_it(namespace: int) -> None:
    with Nftables(namespace) as nftables, SyncNetlink(namespace, NETLINK_NETFILTER) as netlink:
        nftables.run("add table ip t\nadd chain ip t A\n")
        with pytest.raises(NetlinkError, match="No such file"):
            netlink.transact(begin(), picking("ip", "t", {"A": (["10.0.0.1"], None), "B": (["10.0.0.2"], None)}), end())
        assert nftables.run("list ruleset") == "table ip t {\n\tchain A {\n\t}\n}\n"
        netlink.transact(begin(), picking("ip", "t", {"A": (["10.0.0.1"], None)}), end())  # what was left to be read does not confuse
        assert "10.0.0.1" in nftables.run("list ruleset")
