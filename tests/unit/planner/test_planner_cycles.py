"""What services and networks that come and go leave behind: nothing."""

from __future__ import annotations

import random

import pytest

from cluster.model.changes import Kind, deleted
from cluster.model.specs import IpamConfig
from tests.unit.planner.world import World, port

ALIVE_AT_MOST = 5


@pytest.mark.parametrize("cycles", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_services_and_networks_that_come_and_go_lose_no_address_port_or_number(cycles: int) -> None:
    world = World(nodes=2, ingress=True)
    world.checks = False  # the other tests check each step; here the end is looked at
    world.network("stays", ipam=(IpamConfig("10.7.0.0/26"),))
    world.run()
    before = held(world)
    chance = random.Random(7)
    alive: list[str] = []
    for number in range(cycles):
        name = f"s{number}"
        own = world.network(f"net-{name}")
        world.service(name, replicas=chance.randrange(3), networks=("stays", own), ports=[port(80)])
        alive.append(name)
        world.run() if chance.random() < 0.5 else world.settle()  # some go before they run
        if len(alive) > ALIVE_AT_MOST:
            remove(world, alive.pop(chance.randrange(len(alive))))
    assert [reason.summary for reason in world.reasons.values() if not reason.summary.startswith("placed on")] == []
    for name in alive:
        remove(world, name)
    assert world.tasks() == []
    after = held(world)
    assert after["marks"] == before["marks"]
    assert after["ports"] == before["ports"]
    assert after["addresses"]["ingress"] == before["addresses"]["ingress"]
    assert after["addresses"].keys() == {"ingress", "stays"}
    balancers = [a for node in world.store.all(Kind.NODE) for a in node.attachments if a.network_id == "stays"]
    assert len(after["addresses"]["stays"]) == len(balancers) <= 2
    first = world.network("first-again")
    world.settle()
    assert (world.get_network(first).subnet, world.get_network(first).vni) == ("10.0.1.0/24", 4098)


def remove(world: World, name: str) -> None:
    world.remove(name)
    world.run()
    world.commit(deleted(world.get_network(f"net-{name}")))
    world.run()


def held(world: World) -> dict[str, dict[str, object]]:
    """What is taken, by what it is."""
    book = world.index.addresses
    return {
        "addresses": {str(network): dict.fromkeys(map(str, used)) for network, used in book.used.items()},
        "ports": {str(key): value for key, value in world.index.ports.ports.items()},
        "marks": {str(network): value for network, value in world.index.ports.marks.items()},
    }
