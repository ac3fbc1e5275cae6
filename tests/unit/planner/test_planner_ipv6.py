"""Overlays with IPv6: their subnets, and the twins that addresses there are."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.model.ids import NetworkId
from cluster.model.objects import Network
from cluster.model.specs import IpamConfig, NetworkSpec
from cluster.model.twins import has_room, origin, twin
from manager.allocator.subnets6 import cluster_prefix
from tests.unit.planner.world import World


def network(subnet: str, subnet6: str) -> Network:
    return Network(id=NetworkId("n"), spec=NetworkSpec("n", ipv6=True), subnet=subnet, subnet6=subnet6)


@given(st.integers(8, 30), st.integers(0, 2**32 - 1), st.integers(0, 2**120 - 1))
def test_a_twin_has_the_same_host_number_and_leads_back(prefix: int, number: int, base6: int) -> None:
    subnet = IPv4Network((number, prefix), strict=False)
    subnet6 = IPv6Network((base6, 96 + prefix), strict=False)
    assert has_room(str(subnet), str(subnet6))
    one = network(str(subnet), str(subnet6))
    found = twin(one, str(IPv4Address(number)))
    assert int(IPv6Network(found).network_address) - int(subnet6.network_address) == number - int(subnet.network_address)
    assert origin(one, found) == str(IPv4Address(number))
    assert twin(one, f"{IPv4Address(number)}/{prefix}") == f"{found}/{96 + prefix}"


def test_what_has_no_twin() -> None:
    one = network("10.0.1.0/24", "fd00::/64")
    assert origin(one, "fd00::100") == ""
    assert origin(one, "2001:db8::1") == ""
    assert twin(network("10.0.1.0/24", ""), "10.0.1.8") == ""
    assert twin(one, "") == ""
    with pytest.raises(ValueError, match="nonsense"):
        origin(one, "nonsense")
    assert not has_room("10.0.0.0/16", "fd00::/120")


def test_default_subnets_are_the_cluster_s_own_one_after_the_other() -> None:
    world = World(nodes=1)
    for name in ("one", "two"):
        world.network(name, ipv6=True)
    world.network("plain")
    world.settle()
    whole = cluster_prefix(next(iter(world.index.clusters), ""))
    first, second = (IPv6Network(world.get_network(n).subnet6) for n in ("one", "two"))
    assert [first, second] == list(whole.subnets(new_prefix=64))[:2]
    assert world.get_network("one").gateway6 == str(first[1])
    assert (world.get_network("plain").subnet6, world.get_network("plain").gateway6) == ("", "")


def test_a_given_subnet_is_honoured_or_refused_with_the_reason() -> None:
    world = World(nodes=1)
    pools = {"good": ("fd00:5::/64", "fd00:5::9"), "same": ("fd00:5::/80", ""), "small": ("fd00:6::/126", ""), "away": ("fd00:7::/64", "fd00:8::1")}
    for name, (subnet, gateway) in pools.items():
        world.network(name, ipv6=True, ipam=(IpamConfig(subnet, gateway=gateway),))
    world.settle()
    assert (world.get_network("good").subnet6, world.get_network("good").gateway6) == ("fd00:5::/64", "fd00:5::9")
    refused = {name: world.index.refused[NetworkId(name)] for name in ("same", "small", "away")}
    assert refused == {
        "same": "invalid pool request: Pool overlaps with other one on this address space: fd00:5::/80",
        "small": "invalid pool request: subnet fd00:6::/126 has fewer addresses than 10.0.1.0/24",
        "away": "gateway fd00:8::1 is not in subnet fd00:7::/64",
    }


def test_an_address_whose_twin_is_kept_is_not_given() -> None:
    world = World(nodes=1)
    kept = IpamConfig("fd00:5::/64", gateway="fd00:5::2", reserved=(("printer", "fd00:5::3"),))
    world.network("net", ipv6=True, ipam=(kept,))
    world.service("web", replicas=2, networks=["net"])
    world.settle()
    given_out = {n.address for t in world.live("web") for n in t.networks}
    assert given_out.isdisjoint({"10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"})
