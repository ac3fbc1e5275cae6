"""What the checks of the cluster see when several entries are committed at once."""

from __future__ import annotations

import msgspec
import pytest

from cluster.model.changes import Kind, created, updated
from cluster.model.ids import NodeId, ServiceId, TaskId
from cluster.model.objects import Node, NodeState, NodeStatus, Task, TaskStatus
from cluster.model.specs import Availability, ContainerSpec, NodeSpec, TaskSpec
from cluster.model.task_state import TaskState
from manager.dispatcher import dependencies
from manager.dispatcher.dependencies import Dependencies
from manager.store import Batch, Event, Store
from sim.checks.cluster import ClusterChecks
from sim.failure import Broken
from sim.properties import Properties
from sim.run import run
from sim.scenario import Shape
from sim.strategies import generate

PLACED = Task(TaskId("t1"), ServiceId("s1"), TaskSpec(ContainerSpec("busybox")), slot=1, node_id=NodeId("n1"), status=TaskStatus(TaskState.ASSIGNED))


def store_with_node() -> Store:
    store = Store()
    store.apply(1, (created(Node(NodeId("n1"), NodeSpec(), status=NodeStatus(NodeState.READY))),))
    return store


def drain(store: Store, index: int) -> Batch:
    node = store.get(Kind.NODE, "n1")
    assert node is not None
    return store.apply(index, (updated(msgspec.structs.replace(node, spec=NodeSpec(availability=Availability.DRAIN))),))


def test_a_node_that_is_drained_by_the_entry_behind_a_placement_suited_it() -> None:
    store = store_with_node()
    placed = store.apply(2, (created(PLACED),))
    ClusterChecks(Properties(()), every_ns=1).feed(store, (placed, drain(store, 3)), now_ns=0)


def test_a_node_that_was_drained_by_the_entry_before_does_not() -> None:
    store = store_with_node()
    drained = drain(store, 2)
    placed = Batch(3, (Event(Kind.TASK, "t1", None, PLACED),))
    with pytest.raises(Broken, match="which is ready and drain"):
        ClusterChecks(Properties(()), every_ns=1).feed(store, (drained, placed), now_ns=0)


SECRETIVE = Shape(agents=4, services=4, seconds=12, faults=("agents",))


def test_secrets_that_a_node_keeps_after_its_tasks_are_over_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "_uses", lambda task: bool(task.spec.container.secrets) and bool(task.node_id))
    assert any("its live tasks need" in run(generate(seed, SECRETIVE), keep=False).failure for seed in range(5))


def test_a_task_that_is_told_without_its_secret_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dependencies, "needed", lambda self, node_id: ())
    monkeypatch.setattr(Dependencies, "item", lambda self, node_id, key: None)
    assert "to start task" in run(generate(1, SECRETIVE), keep=False).failure


def test_a_secret_of_nobody_s_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def needed(self: Dependencies, node_id: NodeId) -> tuple[dependencies.DependencyItem, ...]:
        return tuple(self._items.values())

    monkeypatch.setattr(Dependencies, "needed", needed)
    assert "which none of its tasks uses" in run(generate(1, SECRETIVE), keep=False).failure
