"""Why a task runs where it does, waits, or stopped: the planner's reasons and the task's own history, in words.

Owns the wording of `festoon why`; never decides and never guesses: what it says stands in the store, or was said by
the planner when it decided. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cluster.model.changes import Kind
from cluster.model.errors import NotFound
from cluster.model.objects import Task, TaskStatus, task_name
from cluster.model.task_state import TaskState, is_final, is_wished, title
from cluster.wire.calls import WhyAnswer, WhyTask
from manager.draft import Why
from manager.orchestrator.tasks import ended_how
from manager.store import Store

TASKS: Final = 200
"""Tasks that one answer explains, at most; those that are wished to run come first."""

_STEPS: Final = {
    TaskState.NEW: "waits to be given addresses",
    TaskState.PENDING: "waits for a node",
    TaskState.ASSIGNED: "was assigned to its node",
    TaskState.ACCEPTED: "was accepted by its node",
    TaskState.PREPARING: "is being prepared",
    TaskState.READY: "is ready to start",
    TaskState.STARTING: "is starting",
    TaskState.RUNNING: "is running",
    TaskState.COMPLETE: "completed",
    TaskState.SHUTDOWN: "was shut down",
    TaskState.FAILED: "failed",
    TaskState.REJECTED: "was rejected",
    TaskState.REMOVE: "was removed",
    TaskState.ORPHANED: "was lost with its node",
}


def why(store: Store, reasons: Mapping[str, Why], reference: str) -> WhyAnswer:
    """Explain a service (all of its tasks) or one task. `reference`: an id, a name or the start of an id.

    Raises NotFound or InvalidArgument (ambiguous).
    """
    try:
        service = store.find(Kind.SERVICE, reference)
    except NotFound:
        return _of_task(store, reasons, reference)
    tasks = sorted(store.tasks_of_service(service.id), key=_order)[:TASKS]
    return WhyAnswer("service", service.spec.name, service.id, tuple(_explained(store, reasons, t) for t in tasks))


def _of_task(store: Store, reasons: Mapping[str, Why], reference: str) -> WhyAnswer:
    try:
        task = store.find(Kind.TASK, reference)
    except NotFound as error:
        raise NotFound(f"no such task or service: {reference}") from error
    return WhyAnswer("task", task_name(task), task.id, (_explained(store, reasons, task),))


def _order(task: Task) -> tuple[bool, int, str, int, str]:
    """Wished to run before the rest, then by slot or node, the newest first."""
    return (
        not is_wished(task.desired_state), task.slot, task.node_id if not task.slot else "",
        -task.meta.created_at_ns, task.id,
    )  # fmt: skip


def _explained(store: Store, reasons: Mapping[str, Why], task: Task) -> WhyTask:
    reason = reasons.get(task.id)
    live = is_wished(task.desired_state)
    return WhyTask(
        id=task.id,
        name=task_name(task),
        state=title(task.status.state),
        desired=title(task.desired_state),
        node=_hostname(store, task),
        summary=_summary(store, task, reason),
        nodes=reason.nodes if reason is not None and live and not is_final(task.status.state) else (),
        story=_story(store, task),
    )


def _hostname(store: Store, task: Task) -> str:
    node = store.get(Kind.NODE, task.node_id) if task.node_id else None
    return task.node_id if node is None else node.description.hostname or node.id


def _summary(store: Store, task: Task, reason: Why | None) -> str:
    state = task.status.state
    if not is_wished(task.desired_state) or is_final(state):
        return _ended(store, task)
    if state < TaskState.ASSIGNED:
        return task.status.err or (reason.summary if reason is not None else _STEPS[state])
    where = reason.summary if reason is not None else f"placed on {_hostname(store, task)}"
    if evicted := _evicted(store, task):
        where += f"; evicted {', '.join(evicted)} to get there"
    if task.desired_state is TaskState.READY:
        return f"waits to be started: {_waits_for(store, task)}; {where}"
    if state is TaskState.RUNNING:
        return f"is running; {where}"
    error = f" ({task.status.err})" if task.status.err else ""
    return f"{_STEPS[state]}{error}; {where}"


def _evicted(store: Store, task: Task) -> list[str]:
    """Whom the planner stopped on the task's node to make room for it, as far as they are still known."""
    cause = f"preempted by {task_name(task)} ("
    return [task_name(other) for other in store.tasks_of_node(task.node_id) if other.stop_cause.startswith(cause)] if task.node_id else []


def _waits_for(store: Store, task: Task) -> str:
    for other in store.tasks_of_service(task.service_id):
        same_slot = (other.slot, other.slot or other.node_id) == (task.slot, task.slot or task.node_id)
        stopping = not is_wished(other.desired_state) and not is_final(other.status.state)
        if same_slot and stopping and other.id != task.id:
            return f"{other.id} before it has not stopped yet"
    return "its restart delay has not passed"


def _ended(store: Store, task: Task) -> str:
    """How it came to its end: by itself or because of the planner, and what took its place."""
    parts = []
    if task.stop_cause:
        parts.append(f"to be stopped: {task.stop_cause}" if not is_final(task.status.state) else task.stop_cause)
    if is_final(task.status.state) and not (task.stop_cause and task.status.state is TaskState.SHUTDOWN):
        parts.append(ended_how(task))
    successor = next((t for t in store.tasks_of_service(task.service_id) if f"({task.id})" in t.cause), None)
    if successor is not None:
        parts.append(f"replaced by {successor.id}")
    elif store.get(Kind.SERVICE, task.service_id) is None and not task.stop_cause:
        parts.append("its service was removed")
    return "; ".join(parts) or _STEPS[task.status.state]


def _story(store: Store, task: Task) -> tuple[tuple[int, str], ...]:
    """What happened to the task, oldest first: (time ns, sentence)."""
    story = [(task.meta.created_at_ns, f"created: {task.cause}" if task.cause else "created")]
    story.extend((s.timestamp_ns, _sentence(store, task, s)) for s in (*task.history, task.status) if _tells(s))
    if task.stop_cause:
        story.append((task.meta.updated_at_ns, f"to be stopped: {task.stop_cause}"))
    return tuple(sorted(story, key=lambda entry: entry[0]))


def _tells(status: TaskStatus) -> bool:
    """Whether the status says more than that the task was made."""
    return status.state is not TaskState.NEW or bool(status.err)


def _sentence(store: Store, task: Task, status: TaskStatus) -> str:
    text = _STEPS[status.state]
    if status.state is TaskState.ASSIGNED:
        text = f"was assigned to {_hostname(store, task)}"
    if status.err:
        return f"{text}: {status.err}"
    return f"{text} (exit code {status.exit_code})" if status.exit_code else text
