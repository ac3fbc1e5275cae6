"""What the checks of the cluster see when several entries are committed at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from cluster.model.changes import Kind, created, updated
from cluster.model.ids import NodeId, ServiceId, TaskId
from cluster.model.objects import Node, NodeState, NodeStatus, Task, TaskStatus
from cluster.model.specs import Availability, ContainerSpec, NodeSpec, TaskSpec
from cluster.model.task_state import TaskState
from manager.dispatcher import dependencies
from manager.dispatcher.dependencies import Dependencies
from manager.raft.core import Role
from manager.raft.membership import History, of_voters
from manager.store import Batch, Event, Store
from sim.checks.cluster import ClusterChecks
from sim.checks.raft import RaftChecks
from sim.failure import Broken
from sim.manager import Manager
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


def leader(committed: int, *voters: int) -> Manager:
    """Member 1, which leads term 1 and has 1 entry on its disk; its log's other entries are on their way there."""
    log = SimpleNamespace(committed=committed, stable=1, term=lambda index: 1, applied=0, offset=0, memberships=History(of_voters(*voters)))
    raft = SimpleNamespace(role=Role.LEADER, term=1, went_back=False, membership=of_voters(*voters), config=SimpleNamespace(id=1), log=log)
    return cast("Manager", SimpleNamespace(name="m1", raft_id=1, member=SimpleNamespace(raft=raft), disk=SimpleNamespace(unsafe=lambda prefix: "")))


def held_by_two_and_three(checks: RaftChecks, index: int) -> None:
    checks._durable.update({2: (index, 1), 3: (index, 1)})


def test_what_is_committed_right_before_a_member_goes_needs_the_majority_of_before() -> None:
    """A leader whose disk is slow commits what both others hold, and takes one of them out, in one step (found by a hunt)."""
    checks = RaftChecks(digests=False)
    checks.started(leader(1, 1, 2, 3))
    checks.stepped(leader(0, 1, 2, 3))
    held_by_two_and_three(checks, 2)
    checks.stepped(leader(2, 1, 3))


def test_what_is_committed_after_a_member_has_gone_needs_the_majority_of_now() -> None:
    checks = RaftChecks(digests=False)
    checks.started(leader(1, 1, 2, 3))
    checks.stepped(leader(0, 1, 2, 3))
    checks.stepped(leader(0, 1, 3))
    held_by_two_and_three(checks, 2)
    with pytest.raises(Broken, match="which 1 of 2 hold"):
        checks.stepped(leader(2, 1, 3))


def test_two_changes_of_the_members_at_once_are_noticed() -> None:
    leading = leader(0, 1, 2, 3, 4)
    history = leading.member.raft.log.memberships  # type: ignore[union-attr]
    history.put(2, of_voters(1, 2, 3))
    RaftChecks(digests=False)._leads(leading)
    history.put(3, of_voters(1, 2))
    with pytest.raises(Broken, match="m1 has 2 changes of the managers under way at once"):
        RaftChecks(digests=False)._leads(leading)
