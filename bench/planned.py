"""A store and a planner without Raft, network or agents: what the planner's benches share."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from random import Random

import msgspec

from cluster.model.changes import Change, Kind, created
from cluster.model.ids import ClusterId, NodeId, ServiceId, TaskId
from cluster.model.objects import Cluster, Meta, Node, NodeDescription, NodeState, NodeStatus, Service, Task, TaskStatus
from cluster.model.specs import ClusterSpec, ContainerSpec, NodeSpec, Placement, Platform, Resources, ServiceMode, ServiceModeKind, ServiceSpec, TaskSpec
from cluster.model.task_state import ASSIGNED, TaskState
from manager.index import Index
from manager.planner import Plan, plan
from manager.store import Store

START_NS = 1_700_000_000_000_000_000


class Planned:
    """A leader's loop, by hand: commit, plan, commit the plan, until there is nothing to do. Counts placements as a watcher sees them."""

    def __init__(self, changes: Iterable[Change], make: type[Index] = Index) -> None:
        self.store = Store()
        self._make = make
        self.now_ns = START_NS
        self.placed = 0
        self.index = make.build(())
        self._rng = Random(1)
        self._watch = self.store.watch(1 << 20)
        self.commit(created(Cluster(ClusterId("c"), ClusterSpec())), *changes)
        self.look_anew()
        self.settle()

    def commit(self, *changes: Change) -> None:
        self.store.apply(self.store.index + 1, changes)

    def look_anew(self) -> None:
        """Build the planner's index from the store, as a new leader does."""
        self._watch.take()
        self.index = self._make.build(item for kind in Kind for item in self.store.all(kind))

    def plan(self) -> Plan:
        """One plan, of all that was committed since the last."""
        events = tuple(chain.from_iterable(batch.events for batch in self._watch.take()))
        for event in events:
            after, before = event.after, event.before
            if isinstance(after, Task) and after.status.state is ASSIGNED:
                self.placed += not (isinstance(before, Task) and before.status.state is ASSIGNED)
        return plan(self.index, events, self.now_ns, self._rng)

    def settle(self) -> int:
        """Plan and commit until there is nothing to do; how many plans it took."""
        plans = 0
        while True:
            made = self.plan()
            plans += 1
            if not made.changes:
                return plans
            self.commit(*made.changes)


def node(number: int) -> Node:
    description = NodeDescription(f"node{number}", Platform("x86_64", "linux"), Resources(64_000_000_000, 256 << 30))
    spec = NodeSpec(labels=(("half", str(number % 2)), ("rack", str(number % 20))))
    status = NodeStatus(NodeState.READY, "", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    return Node(_node_id(number), spec, Meta(created_at_ns=number), description, status)


def _node_id(number: int) -> NodeId:
    return NodeId(f"node{number:021}")


def service(number: int, replicas: int, placement: Placement | None = None) -> Service:
    spec = TaskSpec(ContainerSpec("busybox"), placement=placement)
    mode = ServiceMode(ServiceModeKind.REPLICATED, replicas)
    return Service(ServiceId(f"svc{number:022}"), ServiceSpec(f"service{number}", spec, mode=mode), Meta(created_at_ns=START_NS))


def task(owner: Service, number: int, slot: int) -> Task:
    """A task as SwarmKit's allocator leaves it."""
    return Task(
        TaskId(f"task{number:021}"), owner.id, owner.spec.task, Meta(created_at_ns=START_NS), owner.spec.name, owner.spec_version, slot,
        status=TaskStatus(TaskState.PENDING, START_NS, "pending task scheduling"), desired_state=TaskState.RUNNING,
    )  # fmt: skip


def running(owner: Service, number: int, slot: int, on: int) -> Task:
    """A task that runs on that node, since an hour ago."""
    status = TaskStatus(TaskState.RUNNING, START_NS - 3600 * 10**9, "started")
    return msgspec.structs.replace(task(owner, number, slot), node_id=_node_id(on), status=status)
