"""Containers of users on attachable overlays: addresses given, asked for, refused, and never lost."""

from __future__ import annotations

import random

import pytest

from cluster.model.errors import Internal, PermissionDenied
from cluster.model.ids import NetworkId
from cluster.model.objects import Network
from cluster.model.specs import IpamConfig, NetworkSpec
from cluster.wire.calls import Attach
from manager.dispatcher import containers
from tests.unit.planner.world import World

CYCLES = 10_000


def join(world: World, node: str, id_: str, network: str = "oa", address: str = "") -> None:
    held = world.get_node(node)
    request = Attach(id_, f"container-{id_}", network, address)
    world.change(held, containers=containers.added(held, request, world.get_network(network)).containers)


def leave(world: World, node: str, *ids: str) -> None:
    held = world.get_node(node)
    world.change(held, containers=containers.without(held, ids).containers)


def given(world: World, node: str) -> list[str]:
    return [c.address for c in world.get_node(node).containers]


@pytest.fixture
def world() -> World:
    made = World(nodes=2)
    made.network("oa", attachable=True)
    made.settle()
    return made


def test_the_container_comes_before_its_nodes_balancer_as_in_docker(world: World) -> None:
    join(world, "n1", "one")
    world.settle()
    assert given(world, "n1") == ["10.0.0.2/24"]
    assert [a.address for a in world.get_node("n1").attachments] == ["10.0.0.3/24"]
    found = containers.outcome(world.get_node("n1"), "one", world.get_network("oa"))
    assert found is not None
    assert (found.network_id, found.address) == ("oa", "10.0.0.2/24")


def test_an_address_of_ones_own_does_not_move_the_next(world: World) -> None:
    join(world, "n1", "one")
    world.settle()
    join(world, "n1", "two", address="10.0.0.77")
    world.settle()
    join(world, "n2", "three")
    world.settle()
    assert given(world, "n1") == ["10.0.0.2/24", "10.0.0.77/24"]
    assert given(world, "n2") == ["10.0.0.4/24"]


@pytest.mark.parametrize("address", ["10.0.0.2", "10.0.0.1", "10.0.0.255", "10.9.9.9"])
def test_an_address_that_cannot_be_had_is_refused(world: World, address: str) -> None:
    join(world, "n1", "one")
    world.settle()
    join(world, "n2", "two", address=address)
    world.settle()
    with pytest.raises(Internal, match=f"address {address} is in use or not of this network"):
        containers.outcome(world.get_node("n2"), "two", world.get_network("oa"))
    assert given(world, "n2") == [""]


def test_a_full_network_says_so() -> None:
    world = World(nodes=1)
    world.network("oa", attachable=True, ipam=(IpamConfig("10.7.0.0/29"),))
    world.settle()
    for number in range(6):
        join(world, "n1", str(number))
        world.settle()
    with pytest.raises(Internal, match=r"no available IPv4 addresses on this network's address pools: oa \(oa\)"):
        containers.outcome(world.get_node("n1"), "5", world.get_network("oa"))


def test_a_network_that_is_not_attachable_is_refused_in_dockers_words() -> None:
    with pytest.raises(PermissionDenied, match="Could not attach to network o1: network o1 not manually attachable"):
        containers.check(Attach("x", "c", "o1"), Network(NetworkId("o1"), NetworkSpec("o1")))


def test_ten_thousand_containers_that_come_and_go_lose_no_address(world: World) -> None:
    chance = random.Random(7)
    live: list[tuple[str, str]] = []
    for number in range(CYCLES):
        node = chance.choice(("n1", "n2"))
        join(world, node, str(number))
        live.append((node, str(number)))
        if len(live) > 20:
            gone = live.pop(chance.randrange(len(live)))
            leave(world, *gone)
        world.settle()
    for node, id_ in live:
        leave(world, node, id_)
    world.settle()
    balancers = {a.address for n in ("n1", "n2") for a in world.get_node(n).attachments}
    assert len(world.index.addresses.used[NetworkId("oa")]) == len(balancers) == 2
