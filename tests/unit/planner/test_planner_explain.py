"""`festoon why`: the planner's reasons and a task's history in words."""

from __future__ import annotations

import pytest

from cluster.model.errors import NotFound
from cluster.model.specs import Availability, Placement
from cluster.model.task_state import TaskState
from cluster.wire.calls import WhyTask
from manager.explain import why
from tests.unit.planner.world import World


def explained(world: World, reference: str) -> WhyTask:
    return why(world.store, world.reasons, reference).tasks[0]


def test_a_pending_task_tells_node_by_node_what_keeps_it_away() -> None:
    world = World(nodes=20)
    world.service("nowhere", placement=Placement(("node.labels.disk==ssd",)))
    world.settle()
    answer = why(world.store, world.reasons, "nowhere")
    assert (answer.kind, answer.name, answer.id) == ("service", "nowhere", "nowhere")
    (task,) = answer.tasks
    assert (task.name, task.state, task.desired, task.node) == ("nowhere.1", "pending", "running", "")
    assert task.summary == "no suitable node (scheduling constraints not satisfied on 20 nodes)"
    assert [host for host, _ in task.nodes] == sorted(f"n{number}" for number in range(1, 21)), "each of them"
    assert all("constraint node.labels.disk==ssd not satisfied" in words for _, words in task.nodes)


def test_a_running_task_tells_where_else_it_could_have_gone() -> None:
    world = World(nodes=2)
    world.service("a")
    world.run()
    task = explained(world, "a.1")
    assert (task.state, task.node) == ("running", "n1")
    assert task.summary == "is running; placed on n1: 0 tasks of this service, 0 in total before it"
    assert task.nodes == (
        ("n1", "0 tasks of this service, 0 in total"),
        ("n2", "0 tasks of this service, 0 in total"),
    )
    sentences = [sentence for _, sentence in task.story]
    assert sentences[:2] == ["created: service created", "was assigned to n1"]
    assert sentences[-1] == "is running"


def test_a_stopped_task_tells_its_end_and_what_took_its_place() -> None:
    world = World(nodes=1)
    world.service("a")
    world.run()
    world.advance(6)
    (old,) = world.running()
    world.fail(old, 3)
    world.settle()
    (new,) = world.live()
    task = explained(world, old.id)
    assert task.summary == f"failed: task: non-zero exit (3); replaced by {new.id}"
    assert task.story[-1] == (world.now_ns, "failed: task: non-zero exit (3)")
    assert explained(world, new.id).story[0][1] == f"created: replaces a.1 ({old.id}): failed: task: non-zero exit (3)"


def test_a_task_that_waits_says_for_what() -> None:
    world = World(nodes=2)
    world.service("a")
    world.run()
    (old,) = world.running()
    world.set_availability(old.node_id, Availability.DRAIN)
    world.settle()
    (new,) = world.live()
    assert explained(world, new.id).summary.startswith(f"waits to be started: {old.id} before it has not stopped yet")
    assert explained(world, old.id).summary == f"to be stopped: node n1 is drained; replaced by {new.id}"
    world.run()
    world.fail(world.running()[0])
    world.run()
    assert explained(world, "a.1").summary.startswith("waits to be started: its restart delay has not passed")


def test_without_the_planners_reasons_the_store_is_told() -> None:
    world = World(nodes=1)
    world.service("a")
    world.run()
    task = why(world.store, {}, "a").tasks[0]
    assert (task.summary, task.nodes) == ("is running; placed on n1", ())


def test_a_removed_service_is_still_told_of_by_its_tasks() -> None:
    world = World(nodes=1)
    world.service("a")
    world.run()
    (task,) = world.running()
    world.remove("a")
    world.settle()
    assert explained(world, task.id).summary == "to be stopped: service removed"
    assert world.get_task(task.id).status.state is TaskState.RUNNING


def test_an_unknown_reference() -> None:
    with pytest.raises(NotFound, match="no such task or service: ghost"):
        why(World(nodes=1).store, {}, "ghost")
