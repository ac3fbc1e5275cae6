"""Global services: one task on every node that satisfies the constraints and is neither down nor drained.

Owns which nodes those are: what runs there is restart.py's and update.py's. A paused node is left as it is: what runs
stays, nothing new comes. Source: SwarmKit's `manager/orchestrator/global`.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.model.ids import NodeId
from cluster.model.objects import Node, NodeState, Service, Task
from cluster.model.specs import Availability
from cluster.model.task_state import TaskState, is_final
from manager.draft import Draft
from manager.orchestrator import constraints, restart, update
from manager.orchestrator.agenda import SlotKey
from manager.orchestrator.reaper import reap
from manager.orchestrator.slots import in_order
from manager.orchestrator.tasks import has_completed, hostname, is_live, new_task, stop, task_spec_of
from manager.scheduler.filters import is_ready


def reconcile(draft: Draft, service: Service, keys: Iterable[SlotKey], *, itself: bool) -> None:
    """Bring the service's tasks to what it asks for. `keys`: ids of the nodes to look at; `itself`: whether its update is to be looked at, too."""
    looked = draft.looked.setdefault(service.id, [])
    for key in in_order(keys):
        if draft.full:
            return
        _at_node(draft, service, NodeId(str(key)))
        reap(draft, service.id, key)
        looked.append(key)
    if itself or update.is_under_way(service):
        update.advance(draft, service)


def unsuitable(draft: Draft, service: Service, node: Node) -> str:
    """Why the service does not belong on this node, in words; empty when it does."""
    if node.status.state is NodeState.DOWN:
        return f"node {hostname(node)} is down"
    if node.spec.availability is Availability.DRAIN:
        return f"node {hostname(node)} is drained"
    parsed = draft.constraints_of(task_spec_of(service))
    if isinstance(parsed, str):
        return parsed
    failed = next((c for c in parsed if not constraints.matches(c, node)), None)
    return f"node {hostname(node)} does not satisfy the constraint {failed.text}" if failed is not None else ""


def _at_node(draft: Draft, service: Service, node_id: NodeId) -> None:
    tasks = draft.tasks_in(service.id, node_id)
    node = suitable(draft, service, node_id, tasks)
    if node is None:
        return
    if any(is_live(task) for task in tasks):
        restart.check(draft, service, node_id, tasks)
    elif is_ready(node) and ended_for_its_node(tasks):
        new_task(draft, service, node_id=node_id, cause=f"node {hostname(node)} is to run this global service")


def suitable(draft: Draft, service: Service, node_id: NodeId, tasks: list[Task]) -> Node | None:
    """The node, if the service belongs there; else None, and its tasks there are ended. `tasks`: all of the service there, the newest first."""
    node = draft.index.nodes.get(node_id)
    if node is None:
        for task in tasks:
            stop(draft, task, TaskState.REMOVE, f"node {node_id} was removed")
        return None
    why = unsuitable(draft, service, node)
    if why:
        _leave(draft, [task for task in tasks if not has_completed(task)], why)
    return None if why else node


def _leave(draft: Draft, tasks: list[Task], why: str) -> None:
    """End what is wished to run on a node that is not suitable."""
    for task in tasks:
        if is_live(task):  # one that has ended and was to be replaced is not for that reason alone
            by_itself = is_final(task.status.state) and not restart.is_wanted(draft, task, tasks)
            stop(draft, task, TaskState.SHUTDOWN, "" if by_itself else why)


def ended_for_its_node(tasks: list[Task]) -> bool:
    """Whether there was no task, or the last one did not end by itself: it was stopped because of the node, which is fine again."""
    return not tasks or bool(tasks[0].stop_cause) or tasks[0].desired_state >= TaskState.REMOVE
