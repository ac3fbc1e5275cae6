"""A node that is drained: its tasks go, and where their service starts first they go when others run in their place."""

from __future__ import annotations

import pytest

from cluster.model.objects import NodeState
from cluster.model.specs import Availability, Placement, UpdateConfig, UpdateOrder
from cluster.model.task_state import TaskState
from tests.unit.planner.world import World

FIRST = UpdateConfig(order=UpdateOrder.START_FIRST)


def begun(*, scaled: bool = False, **fields: object) -> World:
    """Three nodes with a task each, of which one may have come by scaling; the first node has just been drained."""
    world = World(nodes=3)
    world.service("a", replicas=2 if scaled else 3, update=FIRST, **fields)
    world.run()
    if scaled:
        world.scale("a", 3)
        world.run()
    world.set_availability("n1", Availability.DRAIN)
    world.settle()
    return world


def test_start_first_never_runs_fewer() -> None:
    world = begun()
    assert len(world.live()) == 4
    for _ in range(20):
        assert len(world.running()) >= 3
        world.step_agents()
        world.settle()
    assert sorted(t.node_id for t in world.live()) == ["n2", "n2", "n3"] or sorted(t.node_id for t in world.live()) == ["n2", "n3", "n3"]
    (gone,) = [t for t in world.tasks() if t.node_id == "n1"]
    assert (gone.status.state, gone.stop_cause) == (TaskState.SHUTDOWN, "node n1 is drained")


def test_stop_first_stops_first() -> None:
    world = World(nodes=3)
    world.service("a", replicas=3)
    world.run()
    world.set_availability("n1", Availability.DRAIN)
    world.settle()
    assert len(world.running()) == 2
    world.run()
    assert len(world.running()) == 3


@pytest.mark.parametrize(("where", "waiting"), [(Placement(max_replicas=1), 1), (Placement(("node.hostname==n1",)), 3)], ids=["replicas", "constraint"])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_replacement_that_finds_no_place_holds_no_drain_up(where: Placement, waiting: int, scaled: bool) -> None:
    world = begun(scaled=scaled, placement=where)
    world.run()
    assert all(t.status.state is not TaskState.RUNNING for t in world.tasks() if t.node_id == "n1")
    assert [t.status.state for t in world.live() if not t.node_id] == [TaskState.PENDING] * waiting


@pytest.mark.parametrize("scaled", [False, True])
def test_a_replacement_that_fails_is_tried_again_after_the_delay_and_the_old_one_goes_on(scaled: bool) -> None:
    world = begun(scaled=scaled)
    for _ in range(3):
        (new,) = [t for t in world.live() if t.cause.endswith("is drained") and t.desired_state is TaskState.RUNNING]
        world.fail(new)
        world.settle()
        assert len(world.running()) == 3
        world.run()
        assert all(t.node_id != "n1" or t.status.state is TaskState.RUNNING for t in world.live()), "nothing took its place before the delay"
        world.advance(5)
    world.run()
    assert len(world.running()) == 3
    assert all(t.node_id != "n1" for t in world.live())


def test_a_node_that_is_wanted_again_meanwhile_keeps_no_surplus() -> None:
    world = begun()
    world.set_availability("n1", Availability.ACTIVE)
    world.run()
    assert len(world.live()) == len(world.running()) == 3


def test_a_drained_node_that_dies_loses_its_tasks_at_once() -> None:
    world = begun()
    world.set_state("n1", NodeState.DOWN)
    world.run()
    assert len(world.running()) == 3
    assert all(t.node_id != "n1" for t in world.live())
