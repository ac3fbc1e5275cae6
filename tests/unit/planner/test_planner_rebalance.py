"""Rebalancing: tasks move to nodes that hold fewer, as many at a time as an update's, and no further than even."""

from __future__ import annotations

from collections import Counter

import pytest

from cluster.model.specs import RestartPolicy, UpdateConfig, UpdateOrder
from cluster.model.task_state import TaskState
from tests.unit.planner.world import World

AUTO = (("festoon.rebalance", "auto"),)
ONCE = (("festoon.rebalance", "once"),)


def on_nodes(world: World, name: str = "a") -> dict[str, int]:
    return dict(Counter(t.node_id for t in world.running(name)))


def to_the_end(world: World) -> None:
    for _ in range(30):
        world.run()


def test_nothing_moves_unasked() -> None:
    world = World(nodes=1)
    world.service("a", replicas=4)
    world.run()
    world.node("n9")
    to_the_end(world)
    assert on_nodes(world) == {"n1": 4}


@pytest.mark.parametrize("order", list(UpdateOrder))
def test_a_new_node_gets_its_share_one_task_at_a_time(order: UpdateOrder) -> None:
    world = World(nodes=1)
    world.service("a", replicas=4, labels=AUTO, update=UpdateConfig(order=order))
    world.run()
    world.node("n9")
    world.settle()
    moving = [t for t in world.tasks("a") if t.cause.endswith("moved to balance the service over its nodes")]
    assert [t.node_id for t in moving] == ["n9"]
    assert len(world.running("a")) == (4 if order is UpdateOrder.START_FIRST else 3)
    to_the_end(world)
    assert on_nodes(world) == {"n1": 2, "n9": 2}
    assert len(world.live("a")) == 4


def test_as_many_at_once_as_updates_may() -> None:
    world = World(nodes=1)
    world.service("a", replicas=9, labels=AUTO, update=UpdateConfig(parallelism=2))
    world.run()
    world.node("n9")
    world.settle()
    assert sum(t.desired_state is TaskState.SHUTDOWN for t in world.tasks("a")) == 2
    to_the_end(world)
    assert sorted(on_nodes(world).values()) == [4, 5]


def test_once_ends_with_an_even_service_and_takes_its_label_away() -> None:
    world = World(nodes=1)
    world.service("a", replicas=4)
    world.run()
    world.node("n9")
    world.run()
    world.update("a", replicas=4, labels=ONCE)
    to_the_end(world)
    assert on_nodes(world) == {"n1": 2, "n9": 2}
    assert world.get_service("a").spec.labels == ()
    world.node("n10")
    to_the_end(world)
    assert on_nodes(world) == {"n1": 2, "n9": 2}, "it was asked for once"


def test_a_node_that_cannot_take_them_gets_none() -> None:
    world = World(nodes=1)
    world.service("a", replicas=3, labels=AUTO, placement=None)
    world.service("b", replicas=3, labels=(*AUTO, ("festoon.placement-strategy", "pack")))
    world.run()
    world.node("n9")
    world.set_availability("n9", type(world.get_node("n9").spec.availability).PAUSE)
    to_the_end(world)
    assert on_nodes(world) == {"n1": 3}
    assert on_nodes(world, "b") == {"n1": 3}


@pytest.mark.parametrize("scaled", [False, True])
def test_nothing_moves_for_a_node_where_the_service_keeps_failing(scaled: bool) -> None:
    world = World(nodes=3)
    world.service("a", replicas=5 if scaled else 6, labels=AUTO, restart=RestartPolicy(delay_ns=0))
    world.run()
    if scaled:
        world.scale("a", 6)
        world.run()
    while on_nodes(world).get("n3"):
        world.fail(next(task for task in world.running("a") if task.node_id == "n3"))
        world.run()
    moves = [t for t in world.tasks("a") if t.cause.endswith("moved to balance the service over its nodes")]
    to_the_end(world)
    assert on_nodes(world) == {"n1": 3, "n2": 3}
    assert len(moves) == len([t for t in world.tasks("a") if t.cause.endswith("moved to balance the service over its nodes")])
