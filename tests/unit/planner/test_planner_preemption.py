"""Priorities: a task that fits nowhere evicts strictly lower ones, never more than needed; packing, and choice by reservations."""

from __future__ import annotations

from collections import Counter

import pytest

from cluster.model.errors import InvalidArgument
from cluster.model.placement_labels import wish_of
from cluster.model.specs import Placement, PublishMode, Resources, UpdateConfig, UpdateOrder
from cluster.model.task_state import TaskState
from manager.explain import why
from tests.unit.planner.world import World, port

GIB = 1 << 30


def labels(priority: int | None = None, strategy: str = "") -> dict[str, object]:
    given = {"festoon.priority": None if priority is None else str(priority), "festoon.placement-strategy": strategy}
    return {"labels": tuple((name, value) for name, value in given.items() if value)}


def memory(gib: float) -> dict[str, object]:
    return {"reservations": Resources(0, int(gib * GIB))}


def test_a_task_that_fits_nowhere_evicts_a_lower_one_and_takes_its_room() -> None:
    world = World(nodes=1)
    world.service("low", replicas=2, **memory(4))
    world.run()
    world.service("high", **memory(4), **labels(10))
    world.settle()
    (waiting,) = world.tasks("high")
    assert waiting.status.state is TaskState.PENDING
    assert waiting.status.err == "no suitable node (insufficient resources on 1 node); waits for low.2 on n1 to stop"
    stopped = [t for t in world.tasks("low") if t.desired_state is TaskState.SHUTDOWN]
    assert [t.stop_cause for t in stopped] == ["preempted by high.1 (priority 10)"]
    world.run()
    assert [t.node_id for t in world.running("high")] == ["n1"]
    assert len(world.running("low")) == 1
    (back,) = [t for t in world.live("low") if t.status.state is TaskState.PENDING]
    assert back.slot == stopped[0].slot
    assert back.status.err == "no suitable node (insufficient resources on 1 node)"
    assert back.cause == f"replaces low.{back.slot} ({stopped[0].id}): preempted by high.1 (priority 10)"
    told = why(world.store, world.reasons, stopped[0].id).tasks[0]
    assert told.summary == f"preempted by high.1 (priority 10); replaced by {back.id}"
    assert why(world.store, world.reasons, waiting.id).tasks[0].summary.endswith(f"evicted low.{back.slot} to get there")
    world.remove("high")
    world.run()
    assert len(world.running("low")) == 2


def test_equal_and_higher_priorities_are_left_alone() -> None:
    world = World(nodes=1)
    world.service("a", **memory(5), **labels(3))
    world.service("b", **memory(3), **labels(4))
    world.run()
    world.service("c", **memory(4), **labels(3))
    world.run()
    assert (len(world.running("a")), len(world.running("b")), len(world.running("c"))) == (1, 1, 0)
    assert world.live("c")[0].status.err == "no suitable node (insufficient resources on 1 node)"


def test_no_more_is_evicted_than_needed_and_the_lowest_first() -> None:
    world = World(nodes=1)
    world.service("lowest", replicas=2, **memory(1), **labels(-5))
    world.service("low", replicas=2, **memory(3))
    world.run()
    world.service("high", **memory(2), **labels(1))
    world.run()
    assert len(world.running("high")) == 1
    assert (len(world.running("lowest")), len(world.running("low"))) == (0, 2)


def test_the_node_with_the_fewest_and_lowest_victims_is_chosen() -> None:
    world = World(nodes=0)
    world.node("m1")
    world.service("small", replicas=4, **memory(2))
    world.run()
    world.node("m2")
    world.service("large", **memory(8))
    world.run()
    world.service("high", **memory(7), **labels(1))
    world.run()
    assert [t.node_id for t in world.running("high")] == ["m2"]
    assert len(world.running("small")) == 4


def test_what_no_eviction_cures_evicts_nobody() -> None:
    world = World(nodes=2)
    world.service("low", replicas=2, **memory(8))
    world.run()
    world.service("constrained", **memory(1), **labels(9), placement=Placement(("node.labels.disk==ssd",)))
    world.service("huge", **memory(9), **labels(9))
    world.service("most", replicas=3, **labels(9), placement=Placement(max_replicas=1))
    world.run()
    assert len(world.running("low")) == 2
    assert len(world.running("most")) == 2


def test_a_host_port_is_made_free() -> None:
    world = World(nodes=1)
    world.service("low", ports=[port(80, 8000, publish_mode=PublishMode.HOST)])
    world.run()
    world.service("high", ports=[port(80, 8000, publish_mode=PublishMode.HOST)], **labels(1))
    world.run()
    assert (len(world.running("low")), len(world.running("high"))) == (0, 1)


def test_a_global_service_makes_room_on_each_of_its_nodes() -> None:
    world = World(nodes=2)
    world.service("low", replicas=2, **memory(8))
    world.run()
    world.service("agent", global_=True, **memory(1), **labels(100))
    world.run()
    assert {t.node_id for t in world.running("agent")} == {"n1", "n2"}
    assert len(world.running("low")) == 0


def test_room_that_comes_free_bit_by_bit_is_kept_for_who_evicted() -> None:
    world = World(nodes=1)
    world.service("low", replicas=4, **memory(2))
    world.run()
    world.service("high", **memory(6), **labels(1))
    world.settle()
    stopping = [t for t in world.tasks("low") if t.desired_state is TaskState.SHUTDOWN]
    assert len(stopping) == 3
    for task in stopping:
        world.report(task, TaskState.SHUTDOWN)
        world.settle()
    world.run()
    assert (len(world.running("high")), len(world.running("low"))) == (1, 1)
    assert sum("preempted" in t.stop_cause for t in world.tasks("low")) == 3


def test_packing_fills_one_node_after_the_other() -> None:
    world = World(nodes=3)
    world.service("a", replicas=3, **memory(3), **labels(strategy="pack"))
    world.run()
    assert Counter(t.node_id for t in world.running()) == {"n1": 2, "n2": 1}
    assert world.reasons[world.running("a")[1].id].summary == "placed on n1: 37.5 % reserved, 1 task in total, to be filled first before it"
    world.service("b", replicas=2, **labels(strategy="pack"))
    world.run()
    assert Counter(t.node_id for t in world.running("b")) == {"n1": 2}


def test_services_that_reserve_go_where_less_is_reserved() -> None:
    world = World(nodes=2)
    world.service("big", **memory(6))
    world.service("small", replicas=3)
    world.run()
    assert [t.node_id for t in world.running("big")] == ["n1"]
    assert Counter(t.node_id for t in world.running("small")) == {"n1": 1, "n2": 2}
    world.service("new", **memory(1))
    world.run()
    assert [t.node_id for t in world.running("new")] == ["n2"], "fewer tasks are on n1, but more is reserved there"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("festoon.priority", "high", "invalid label festoon.priority=high: must be a number from -1000000 to 1000000"),
        ("festoon.priority", "1000001", "invalid label festoon.priority=1000001: must be a number from -1000000 to 1000000"),
        ("festoon.placement-strategy", "random", "invalid label festoon.placement-strategy=random: must be pack or spread"),
        ("festoon.rebalance", "often", "invalid label festoon.rebalance=often: must be auto, once or off"),
    ],
)
def test_labels_that_mean_nothing_are_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        wish_of(((name, value),))
    assert refused.value.message == words


def test_who_is_evicted_while_its_successor_starts_needs_no_other() -> None:
    """Two tasks of one spec stood in the slot (found by the planner's property)."""
    world = World(nodes=1)
    world.service("low", ports=[port(80, 8000, publish_mode=PublishMode.HOST)])
    world.run()
    world.update("low", image="new", update=UpdateConfig(order=UpdateOrder.START_FIRST))
    world.settle()
    assert len(world.live("low")) == 2
    world.service("high", global_=True, ports=[port(80, 8000, publish_mode=PublishMode.HOST)], **labels(5))
    world.settle()
    assert [t.spec.container.image for t in world.live("low")] == ["new"]
    world.run()
    assert len(world.running("low")) == len(world.running("high")) == 1


def test_room_is_kept_for_who_has_no_priority_from_those_below_whatever_happens_meanwhile() -> None:
    """Only who was tried anew kept it (found by the planner's property)."""
    world = World(nodes=1)
    world.service("low", replicas=4, **memory(2), **labels(-1))
    world.run()
    world.service("high", **memory(6))
    world.settle()
    stopping = [t for t in world.tasks("low") if t.desired_state is TaskState.SHUTDOWN]
    assert len(stopping) == 3
    for number, task in enumerate(stopping):
        world.report(task, TaskState.SHUTDOWN)
        world.settle()
        world.service(f"other{number}", replicas=0)
        world.settle()
    world.run()
    assert (len(world.running("high")), len(world.running("low"))) == (1, 1)
    assert sum("preempted" in t.stop_cause for t in world.tasks("low")) == 3
