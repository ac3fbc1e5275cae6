"""Other people's placement in the place of the product's: a filter, a ranking, or a whole placement function.

Owns how such functions are called; the product's own filters hold in any case. A policy is a file of plain functions:

    fits(task, node, on_node) -> bool                what else a node must be
    rank(task, node, on_node) -> comparable          the lowest is preferred
    place(task, nodes) -> node id or None            nodes: (node, tasks on it) that the filters let pass

`on_node` are the tasks that the node carries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from cluster.model.changes import Change
from cluster.model.ids import NodeId
from cluster.model.objects import Node, Task, TaskStatus
from cluster.model.task_state import TaskState, is_wished
from manager.index import Index
from manager.orchestrator import constraints
from manager.scheduler import filters, generic
from sim.failure import BadProperty

OnNode = tuple[Task, ...]
Candidate = tuple[Node, OnNode]


@dataclass(frozen=True)
class Policy:
    """With all None the product's own decision stands."""

    fits: Callable[[Task, Node, OnNode], bool] | None = None
    rank: Callable[[Task, Node, OnNode], Any] | None = None
    choose: Callable[[Task, tuple[Candidate, ...]], NodeId | str | None] | None = None

    def place(self, index: Index, changes: tuple[Change, ...], wall_ns: int) -> tuple[Change, ...]:
        """The plan, with the nodes that this policy gives."""
        if self.fits is None and self.rank is None and self.choose is None:
            return changes
        index.settle(())
        placed: dict[NodeId, list[Task]] = {}
        made = []
        for change in changes:
            task = change.after
            if isinstance(task, Task) and task.slot and _is_placement(index, task):
                task = self._place(index, task, placed, wall_ns)
                if task == index.tasks.get(task.id):
                    continue  # it waits as before
            made.append(msgspec.structs.replace(change, after=task))
        return tuple(made)

    def _place(self, index: Index, task: Task, placed: dict[NodeId, list[Task]], wall_ns: int) -> Task:
        texts = task.spec.placement.constraints if task.spec.placement else ()
        ask = filters.ask_of(task, constraints.parse_all(texts), index.services.get(task.service_id))
        candidates: list[Candidate] = []
        for node in index.nodes.values():
            on_node = (*_carried(index, node.id), *placed.get(node.id, ()))
            if filters.suits(ask.static, node) and _has_room(task, node, on_node) and (self.fits is None or self.fits(task, node, on_node)):
                candidates.append((node, on_node))
        node_id = self._choose(task, tuple(candidates))
        known = index.tasks.get(task.id)
        if node_id is None:
            if known is not None:
                return known
            status = TaskStatus(TaskState.PENDING, wall_ns, "pending task scheduling", "no suitable node (by the policy)")
            return msgspec.structs.replace(task, node_id=NodeId(""), status=status, networks=())
        assigned = msgspec.structs.replace(task, node_id=NodeId(node_id))
        placed.setdefault(assigned.node_id, []).append(assigned)
        return assigned

    def _choose(self, task: Task, candidates: tuple[Candidate, ...]) -> NodeId | str | None:
        if not candidates:
            return None
        if self.choose is not None:
            node_id = self.choose(task, candidates)
            if node_id is not None and node_id not in {node.id for node, _ in candidates}:
                raise BadProperty(f"place gave {node_id!r} for task {task.id}, which is the id of none of its nodes")
            return node_id
        rank = self.rank or (lambda _task, _node, on_node: len(on_node))
        return min(candidates, key=lambda candidate: (rank(task, *candidate), candidate[0].id))[0].id


def _is_placement(index: Index, task: Task) -> bool:
    before = index.tasks.get(task.id)
    return bool(task.node_id) and task.status.state is TaskState.ASSIGNED and (before is None or not before.node_id)


def _carried(index: Index, node_id: NodeId) -> OnNode:
    return tuple(index.tasks[task_id] for task_id in index.uses[node_id].tasks)


def _has_room(task: Task, node: Node, on_node: OnNode) -> bool:
    """The product's filters of resources and replicas per node, over what this plan has placed so far."""
    most = task.spec.placement.max_replicas if task.spec.placement else 0
    if most and sum(other.service_id == task.service_id and is_wished(other.desired_state) for other in on_node) >= most:
        return False
    wanted = task.spec.reservations
    if wanted is None:
        return True
    reserved = [other.spec.reservations for other in on_node if other.spec.reservations is not None]
    memory = sum(r.memory_bytes for r in reserved) + wanted.memory_bytes
    cpus = sum(r.nano_cpus for r in reserved) + wanted.nano_cpus
    have = node.description.resources
    used = dict(generic.sums(one for r in reserved for one in r.generic))
    return memory <= have.memory_bytes and cpus <= have.nano_cpus and not generic.lacking(generic.sums(wanted.generic), have.generic, used)
