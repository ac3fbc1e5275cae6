"""What must hold of each step of a task: of any, and of those that the planner takes. Pure; tests of the planner look with the
same eyes.

Source: swarmkit's design notes and TLA+ specification.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cluster.model.changes import Kind
from cluster.model.objects import Node, NodeState, Task
from cluster.model.specs import Availability
from cluster.model.task_state import AGENT, MANAGER, TaskState, is_final, is_wished
from manager.orchestrator import constraints
from manager.orchestrator.restart import MAX_STOP_WAIT_NS, delay_ns
from manager.store import Event, Store
from sim.failure import Broken

ALLOWED: Final = {state: MANAGER.get(state, frozenset()) | AGENT.get(state, frozenset()) for state in TaskState}
"""Observed state -> the next, whoever moves it on. Reports may be merged, so the agent's row holds later states too."""


def check_step(before: Task, after: Task) -> None:
    """One commit of one task."""
    if (after.service_id, after.slot) != (before.service_id, before.slot):
        raise Broken(f"task {after.id} changed its place", *states(before, after))
    if before.node_id and after.node_id != before.node_id:
        raise Broken(f"task {after.id} moved from {before.node_id} to {after.node_id}", *states(before, after))
    if after.desired_state < before.desired_state:
        raise Broken(f"what is wished of task {after.id} went back", *states(before, after))
    state, new = before.status.state, after.status.state
    if new is state:
        return
    if new not in ALLOWED[state]:
        raise Broken(f"task {after.id} went from {state.name} to {new.name}", *states(before, after))
    if after.desired_state < new <= TaskState.RUNNING:
        raise Broken(f"task {after.id} is {new.name} and nobody wished more than {after.desired_state.name}", *states(before, after))


def may_run(store: Store, task: Task) -> bool:
    """Whether a container may run for it, as far as the managers know."""
    if is_final(task.status.state) or task.status.state < TaskState.ASSIGNED:
        return False
    node = store.get(Kind.NODE, task.node_id)
    return node is not None and node.status.state is not NodeState.DOWN


def check_planned(store: Store, events: Iterable[Event], now_ns: int) -> None:
    """Each of the planner's own steps is one that it may take."""
    for event in events:
        if event.kind is not Kind.TASK:
            continue
        before, after = (task if isinstance(task, Task) else None for task in (event.before, event.after))
        if before is not None and after is not None:
            check_step(before, after)
            if after.status.state is not before.status.state and after.status.state not in MANAGER[before.status.state]:
                raise Broken(f"the planner moved task {after.id} from {before.status.state.name} to {after.status.state.name}", *states(before, after))
            if before.desired_state < TaskState.RUNNING <= after.desired_state <= TaskState.COMPLETE:
                _check_release(store, before, now_ns)
        elif before is not None and may_run(store, before):
            raise Broken(f"task {before.id} was forgotten while it may run on {before.node_id}", *states(before, None))
        if after is not None and (before is None or not before.node_id):
            _check_placement(store, after)


def _check_release(store: Store, task: Task, now_ns: int) -> None:
    """A replacement starts when its time has come and every other task of its slot is over, or could not be stopped for long."""
    if now_ns >= task.released_at_ns + MAX_STOP_WAIT_NS or task.released_at_ns > now_ns + delay_ns(task):
        return  # or its time is one of a clock that ran ahead
    if now_ns < task.released_at_ns:
        raise Broken(f"task {task.id} was released before its time", *states(task, task))
    for other in store.tasks_of_service(task.service_id):
        same_slot = (other.slot or other.node_id) == (task.slot or task.node_id)
        if same_slot and other.id != task.id and not is_wished(other.desired_state) and may_run(store, other):
            raise Broken(f"task {task.id} was released while task {other.id} before it may run", *states(other, task))


def _check_placement(store: Store, task: Task) -> None:
    if task.status.state > TaskState.ASSIGNED and task.status.state <= TaskState.RUNNING:
        raise Broken(f"the planner made task {task.id} {task.status.state.name}")
    if task.status.state is not TaskState.ASSIGNED:
        return
    node = store.get(Kind.NODE, task.node_id)
    if node is None:
        raise Broken(f"task {task.id} is for node {task.node_id}, which is none")
    check_suits(node, task)


def check_suits(node: Node, task: Task) -> None:
    """A node that takes a new task is ready, active, and as its constraints want it."""
    if node.status.state is not NodeState.READY or node.spec.availability is not Availability.ACTIVE:
        raise Broken(f"task {task.id} was given to node {node.id}, which is {node.status.state.value} and {node.spec.availability.value}")
    texts = task.spec.placement.constraints if task.spec.placement else ()
    if not constraints.satisfied(constraints.parse_all(texts), node):
        raise Broken(f"task {task.id} is on node {node.id}, which does not satisfy its constraints")


def states(before: Task | None, after: Task | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (in_words(before),), (in_words(after),)


def in_words(task: Task | None) -> str:
    """One line."""
    if task is None:
        return "(gone)"
    where = f" on {task.node_id}" if task.node_id else ""
    return f"{task.service_name}.{task.slot or task.node_id} {task.id}{where}: {task.status.state.name}, wished {task.desired_state.name}"
