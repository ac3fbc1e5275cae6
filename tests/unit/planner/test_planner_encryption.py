"""Encrypted overlays where kernels can't encrypt: tasks stay together on one node, and who can't be with them waits and says why."""

from __future__ import annotations

import msgspec

from cluster.model.specs import Placement
from cluster.model.task_state import TaskState
from tests.unit.planner.world import World


def sealed(*, plain: tuple[str, ...]) -> World:
    world = World(nodes=3)
    for name in plain:
        node = world.get_node(name)
        world.change(node, description=msgspec.structs.replace(node.description, encrypts=False))
    world.network("net", driver_opts=(("encrypted", ""),))
    return world


def nodes_of(world: World, service: str) -> list[str]:
    return sorted(task.node_id for task in world.live(service))


def test_where_all_nodes_encrypt_tasks_are_spread() -> None:
    world = sealed(plain=())
    world.service("web", replicas=3, networks=["net"])
    world.run()
    assert nodes_of(world, "web") == ["n1", "n2", "n3"]


def test_without_encryption_all_tasks_of_the_network_are_on_one_node() -> None:
    world = sealed(plain=("n1", "n2", "n3"))
    world.service("web", replicas=3, networks=["net"])
    world.service("db", replicas=2, networks=["net"])
    world.run()
    assert len({*nodes_of(world, "web"), *nodes_of(world, "db")}) == 1
    assert len(nodes_of(world, "web")) == 3


def test_a_task_that_would_need_another_node_waits_says_why_and_goes_on_when_it_can() -> None:
    world = sealed(plain=("n1", "n2", "n3"))
    world.service("web", replicas=1, networks=["net"], placement=Placement(constraints=("node.hostname==n1",)))
    world.run()
    world.service("db", replicas=1, networks=["net"], placement=Placement(constraints=("node.hostname==n2",)))
    world.run()
    (waiting,) = world.live("db")
    assert (waiting.node_id, waiting.status.state) == ("", TaskState.PENDING)
    assert "encrypted network cut off on 1 node" in waiting.status.err
    verdicts = dict(world.reasons[waiting.id].nodes)
    assert verdicts["n2"] == "encrypted network net: its kernel has no ESP (esp4, xfrm_user), and others of it are on n1"
    world.remove("web")
    world.run()
    assert nodes_of(world, "db") == ["n2"]


def test_a_node_that_encrypts_takes_no_task_beside_one_that_can_t() -> None:
    world = sealed(plain=("n1",))
    world.service("web", replicas=1, networks=["net"], placement=Placement(constraints=("node.hostname==n1",)))
    world.run()
    world.service("db", replicas=1, networks=["net"], placement=Placement(constraints=("node.hostname==n2",)))
    world.run()
    (waiting,) = world.live("db")
    assert "others of it are on n1, whose kernel has no ESP" in dict(world.reasons[waiting.id].nodes)["n2"]
    world.service("plain", replicas=3)
    world.run()
    assert nodes_of(world, "plain") == ["n1", "n2", "n3"]
