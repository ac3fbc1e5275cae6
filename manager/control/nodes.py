"""Nodes, as users write them: labels, availability, role, removal. Pure. A node's state and description are the
dispatcher's.

Source: SwarmKit controlapi/node.go.
"""

from __future__ import annotations

from random import Random

import msgspec

from cluster.model.changes import Change, Kind, deleted, status_of, updated
from cluster.model.errors import FailedPrecondition, NotFound, OutOfSequence
from cluster.model.objects import Node, NodeState, TaskStatus
from cluster.model.specs import Role
from cluster.model.task_state import MANAGER, TaskState
from cluster.wire.calls import Ids, NodeWrite, Remove
from manager.control.query import Managers
from manager.raft.votes import quorum
from manager.store import Store


def update(store: Store, request: NodeWrite, now_ns: int, managers: Managers) -> tuple[tuple[Change, ...], Ids]:
    """A node with a new spec; what follows from another role is roles.py's. Raises NotFound, OutOfSequence,
    FailedPrecondition (a demotion that the swarm cannot do without)."""
    node = _node(store, request.id)
    if request.version != node.meta.version:
        raise OutOfSequence
    if node.spec.role is Role.MANAGER and request.spec.role is Role.WORKER:
        _check_demotion(store, node, managers)
    meta = msgspec.structs.replace(node.meta, updated_at_ns=now_ns)
    return (updated(msgspec.structs.replace(node, spec=request.spec, meta=meta)),), Ids(node.id)


def remove(store: Store, request: Remove, now_ns: int, rng: Random) -> tuple[tuple[Change, ...], Ids]:
    """The node goes, and its unfinished tasks are orphaned. Raises NotFound, FailedPrecondition (a manager; not down
    and not forced)."""
    node = _node(store, request.id)
    if node.manager is not None:
        raise FailedPrecondition(f"node {node.id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal")
    if not request.force and node.status.state is NodeState.READY:
        raise FailedPrecondition(f"node {node.id} is not down and can't be removed")
    orphaned = TaskStatus(state=TaskState.ORPHANED, timestamp_ns=now_ns, message="Task belonged to a node that has been deleted")
    lost = tuple(status_of(task.id, orphaned) for task in store.tasks_of_node(node.id) if TaskState.ORPHANED in MANAGER.get(task.status.state, ()))
    return (*lost, deleted(node)), Ids(node.id)


def _node(store: Store, node_id: str) -> Node:
    node = store.get(Kind.NODE, node_id)
    if node is None:
        raise NotFound(f"node {node_id} not found")
    return node


def _check_demotion(store: Store, node: Node, managers: Managers) -> None:
    if sum(other.spec.role is Role.MANAGER for other in store.all(Kind.NODE)) <= 1:
        raise FailedPrecondition("attempting to demote the last manager of the swarm")
    if node.id not in managers:
        return  # it has no vote yet
    others = [status for node_id, status in managers.items() if node_id != node.id]
    if sum(status.reachable for status in others) < quorum(len(others)):
        raise FailedPrecondition("can't remove member from the raft: this would result in a loss of quorum")
