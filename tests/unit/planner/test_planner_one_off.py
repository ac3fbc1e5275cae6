"""Services that ask for one task each: those that are alike are placed together, and nobody can tell but by the time that it takes."""

from __future__ import annotations

from collections import Counter

from cluster.model.changes import created, deleted
from cluster.model.ids import TaskId
from cluster.model.objects import NodeState, Task
from cluster.model.specs import Placement, Resources
from cluster.model.task_state import TaskState
from manager import marking
from manager.index import Index
from manager.scheduler.ranking import Placed
from tests.unit.planner.world import World

CPU = 1_000_000_000


def waiting(world: World, **services: int) -> None:
    """These services, one after the other, each of which reserves so many processors, while no node takes their tasks."""
    for node in world.index.nodes:
        world.set_state(node, NodeState.DOWN)
    for name, cpus in services.items():
        world.now_ns += CPU
        world.service(name, reservations=Resources(cpus * CPU))
    world.settle()
    assert {task.status.state for task in world.tasks()} == {TaskState.PENDING}


def on(world: World) -> dict[str, str]:
    return {task.service_id: task.node_id for task in world.live()}


def test_they_are_spread_evenly_in_one_plan() -> None:
    world = World(nodes=3)
    for number in range(7):
        world.service(f"s{number}")
    world.settle()
    assert sorted(Counter(on(world).values()).values()) == [2, 2, 3]
    assert world.plans == 1 + 2, "after the set-up's one, one plan makes the tasks and one finds nothing left"


def test_each_ranks_its_node_by_its_own_tasks_alone() -> None:
    world = World(nodes=1)
    for number in range(3):
        world.service(f"s{number}")
    world.settle()
    reasons = [world.reasons[task.id] for task in world.tasks()]
    assert [reason.ranked[:4] for reason in reasons if isinstance(reason, Placed)] == [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 2)]


def test_how_many_of_one_a_node_may_have_says_nothing_of_the_others() -> None:
    world = World(nodes=2)
    for number in range(5):
        world.service(f"s{number}", placement=Placement(max_replicas=1))
    world.settle()
    assert sorted(Counter(on(world).values()).values()) == [2, 3]


def test_nobody_is_placed_before_who_has_waited_for_longer() -> None:
    world = World(nodes=1)
    waiting(world, a=1, b=3, c=1)
    world.set_state("n1", NodeState.READY)
    world.settle()
    assert on(world) == {"a": "n1", "b": "n1", "c": ""}, "c is like a, but b's turn comes first"


def test_who_asks_for_more_is_not_placed_as_those_before() -> None:
    world = World(nodes=1)
    waiting(world, a=1, b=4, c=1)
    world.set_state("n1", NodeState.READY)
    world.settle()
    assert on(world) == {"a": "n1", "b": "", "c": "n1"}


def test_those_for_which_there_is_no_room_wait_and_say_why() -> None:
    world = World(nodes=1)
    waiting(world, a=2, b=2, c=2, d=2)
    world.set_state("n1", NodeState.READY)
    world.settle()
    assert on(world) == {"a": "n1", "b": "n1", "c": "", "d": ""}
    assert [task.status.err for task in world.tasks()][2:] == ["no suitable node (insufficient resources on 1 node)"] * 2


def test_who_is_on_a_network_gets_its_address_beside_those_that_are_not() -> None:
    world = World(nodes=2)
    world.network("net")
    for name in "abcd":
        world.service(name, networks=["net"] if name in "bd" else [])
    world.settle()
    assert {task.service_id: len(task.networks) for task in world.live()} == {"a": 0, "b": 1, "c": 0, "d": 1}
    assert all(on(world).values())


def made(world: World, service_id: str) -> Task:
    """A task of this service, as another leader may have left it."""
    service = world.get_service(service_id)
    return Task(TaskId("t"), service.id, service.spec.task, spec_version=service.spec_version, slot=1, desired_state=TaskState.RUNNING)


def test_a_task_that_comes_before_its_services_addresses_gets_one() -> None:
    world = World(nodes=1)
    world.network("net")
    world.service("a", networks=["net"])
    world.commit(created(made(world, "a")))
    world.settle()
    (task,) = world.live("a")
    assert task.node_id == "n1"
    assert len(task.networks) == 1
    assert world.get_service("a").endpoint is not None


def test_a_task_that_only_waits_for_a_node_leaves_nothing_to_look_at() -> None:
    world = World(nodes=0)
    world.service("a")
    index = Index.build(world.objects())
    assert "a" in index.agenda.services
    marking.take(index, world.store.apply(world.store.index + 1, (created(made(world, "a")),)).events)
    assert "a" not in index.agenda.services
    assert list(index.agenda.retry) == ["t"]


def test_a_service_that_asks_for_more_or_for_something_else_is_looked_at_again() -> None:
    world = World(nodes=1)
    world.service("a", placement=Placement(("node.labels.x==1",)))
    world.settle()
    assert not world.index.agenda.services
    world.scale("a", 2)
    world.settle()
    assert len(world.live("a")) == 2
    world.commit(deleted(world.live("a")[0]))
    world.settle()
    assert len(world.live("a")) == 2
    world.scale("a", 1)
    world.settle()
    assert len(world.live("a")) == 1
    world.update("a", image="other")
    world.settle()
    assert [task.spec.container.image for task in world.live("a")] == ["other"]
