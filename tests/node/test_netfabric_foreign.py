"""What of a host's own firewall is named, from the rulesets that this machine's nftables lists."""

from __future__ import annotations

import os

import pytest

from netfabric.firewall.foreign import drops
from netfabric.netlink import netns
from netfabric.netlink.nftables import Nftables

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@pytest.mark.parametrize(
    ("chain", "rule", "named"),
    [
        ("type filter hook input priority 0;", "meta l4proto esp drop", "incoming packets of IPsec"),
        ("type filter hook input priority 0;", "ip protocol 50 counter reject", "incoming packets of IPsec"),
        ("type filter hook output priority 0;", "meta l4proto { esp, ah } drop", "outgoing packets of IPsec"),
        ("type filter hook input priority 0; policy drop;", "udp dport { 22, 4789 } accept", "incoming packets of IPsec"),
        ("type filter hook input priority 0;", "udp dport 4789 drop", "incoming packets of VXLAN"),
        ("type filter hook input priority 0;", "ip saddr 192.0.2.1 meta l4proto esp drop", ""),
        ("type filter hook input priority 0; policy drop;", "udp dport 4789 accept; add rule ip strict c ip protocol esp accept", ""),
    ],
)
def test_what_drops_packets_between_nodes_is_named(chain: str, rule: str, named: str) -> None:
    namespace = netns.create_anonymous()
    try:
        with Nftables(namespace) as nftables:
            nftables.run(f"add table ip strict\nadd chain ip strict c {{ {chain} }}\nadd rule ip strict c {rule}\n")
            found = drops(nftables.run_json("list ruleset"), (), 4789, esp=True)
    finally:
        os.close(namespace)
    assert [named in sentence for sentence in found] == [True] * bool(named), found
