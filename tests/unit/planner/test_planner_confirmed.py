"""What comes back of a plan: a task that only got its node needs no other look, unless something else came as well, before or after it."""

from __future__ import annotations

import pytest

from cluster.model.errors import OutOfSequence
from cluster.model.objects import NodeState
from cluster.model.specs import Placement
from cluster.model.task_state import TaskState
from manager.planner import Plan
from tests.unit.planner.world import World


def placing() -> tuple[World, Plan]:
    """Two tasks that had waited for a node with a label, and the plan that gives them one."""
    world = World(nodes=2)
    world.service("a", replicas=2, placement=Placement(("node.labels.x==1",)))
    world.settle()
    world.label("n1", x="1")
    planned = world.plan()
    assert len(planned.changes) == 2
    return world, planned


def test_a_task_that_only_got_its_node_is_not_looked_at_again() -> None:
    world, planned = placing()
    assert "a" not in world.index.agenda.services
    world.commit_plan(planned)
    assert world.plan().changes == ()
    assert "a" not in world.index.agenda.services
    assert world.index.agenda.retry == {}
    assert [task.node_id for task in world.live("a")] == ["n1", "n1"]


def test_a_plan_that_is_refused_is_made_again() -> None:
    world, planned = placing()
    assert world.plan().changes == planned.changes


def test_a_node_that_went_down_before_its_tasks_came_is_noticed() -> None:
    world, planned = placing()
    world.set_state("n1", NodeState.DOWN)
    with pytest.raises(OutOfSequence):
        world.commit(*planned.changes)
    world.settle()
    assert [task.status.state for task in world.live("a")] == [TaskState.PENDING] * 2


def test_a_node_that_went_down_after_them_is_noticed() -> None:
    world, planned = placing()
    world.commit_plan(planned)
    world.set_state("n1", NodeState.DOWN)
    world.settle()
    assert [task.status.state for task in world.live("a")] == [TaskState.PENDING] * 2
