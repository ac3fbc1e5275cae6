"""Tasks as the orchestrators make, judge and stop them.

Owns what a new task looks like, when a task is out of date, and how one is told to stop; never chooses slots or
nodes.
"""

from __future__ import annotations

from sys import intern
from typing import Final

import msgspec

from cluster.model.ids import NodeId
from cluster.model.objects import Endpoint, Meta, Node, NodeState, Service, Task, TaskStatus, task_name
from cluster.model.specs import Availability, TaskSpec
from cluster.model.task_state import ASSIGNED, COMPLETE, NEW, READY, RUNNING, SHUTDOWN, TaskState, is_final, is_wished, title
from manager.draft import Draft
from manager.orchestrator import constraints

UPDATE_CAUSE: Final = "service updated"
REPLACED: Final = "replaced by an update"
"""How the cause of a task begins that an update made: the updater finds its own tasks by it."""

CREATED_MESSAGE: Final = intern("created")
PENDING_MESSAGE: Final = intern("pending task scheduling")
ASSIGNED_MESSAGE: Final = intern("scheduler assigned task to node")
"""Of which the store makes no other objects (manager/store/sharing.py)."""


def is_live(task: Task) -> bool:
    """Whether the task is wished to run."""
    return is_wished(task.desired_state)


def goal(service: Service) -> TaskState:
    """What is wished of the service's tasks once they may start."""
    return COMPLETE if service.spec.mode.kind.is_job else RUNNING


def has_completed(task: Task) -> bool:
    """Whether the task is a job's and has done its part."""
    return bool(task.job_iteration) and task.status.state is COMPLETE


def task_spec_of(service: Service) -> TaskSpec:
    """What the service's tasks run. The deprecated list of networks at the service counts where the task has none."""
    spec = service.spec
    if spec.networks and not spec.task.networks:
        return msgspec.structs.replace(spec.task, networks=spec.networks)
    return spec.task


def new_task(
    draft: Draft, service: Service, *, slot: int = 0, node_id: str = "", waits: bool = False,
    released_at_ns: int = 0, cause: str,
) -> Task:  # fmt: skip
    """Put a new task into the draft, to be given a node in the same plan. `waits`: until it is released."""
    task = Task(
        id=draft.new_task_id(),
        service_id=service.id,
        spec=task_spec_of(service),
        meta=Meta(created_at_ns=draft.now_ns, updated_at_ns=draft.now_ns),
        service_name=service.spec.name,
        spec_version=service.spec_version,
        slot=slot,
        node_id=NodeId(node_id),
        status=TaskStatus(NEW, draft.now_ns, CREATED_MESSAGE),
        desired_state=READY if waits else goal(service),
        endpoint=service.endpoint,
        cause=cause,
        job_iteration=service.job_iteration,
        service_labels=service.spec.labels,
        released_at_ns=released_at_ns if waits else 0,
    )
    draft.put(task)
    draft.waiting[task.id] = None
    return task


def is_dirty(draft: Draft, service: Service, task: Task) -> bool:
    """Whether the task runs something else than its service asks for. A changed placement that its node still
    satisfies, and a change of scale alone, leave it clean."""
    if task.spec_version == service.spec_version:
        return False
    wanted = task_spec_of(service)
    if (task.endpoint or Endpoint()) != (service.endpoint or Endpoint()):
        return True
    if task.spec is wanted or task.spec == wanted:
        return False
    if msgspec.structs.replace(task.spec, placement=wanted.placement) != wanted:
        return True
    node = draft.index.nodes.get(task.node_id)
    parsed = draft.constraints_of(wanted)
    return node is None or isinstance(parsed, str) or not constraints.satisfied(parsed, node)


def node_trouble(draft: Draft, task: Task) -> str:
    """Why the task's node cannot keep it, in words; empty when it can."""
    if not task.node_id:
        return ""
    node = draft.index.nodes.get(task.node_id)
    if node is None:
        return f"node {task.node_id} was removed"
    name = node.description.hostname or node.id
    if node.status.state is NodeState.DOWN:
        return f"node {name} is down"
    if node.spec.availability is Availability.DRAIN:
        return f"node {name} is drained"
    parsed = draft.constraints_of(task.spec)
    if not isinstance(parsed, str):
        for constraint in parsed:
            if not constraints.matches(constraint, node):
                return f"node {name} no longer satisfies the constraint {constraint.text}"
    return ""


def may_run(draft: Draft, task: Task) -> bool:
    """Whether the task may still be running somewhere that we could hear of: assigned, not final, its node not down or
    gone."""
    if is_final(task.status.state) or task.status.state < ASSIGNED:
        return False
    node = draft.index.nodes.get(task.node_id)
    return node is not None and node.status.state is not NodeState.DOWN


def stop(draft: Draft, task: Task, desired: TaskState, cause: str) -> None:
    """Lower a task's wish to SHUTDOWN or REMOVE. One that no agent has heard of is shut down at once; one whose node
    is gone is orphaned."""
    if desired <= task.desired_state:
        return
    status = task.status
    if status.state < ASSIGNED:
        status = TaskStatus(SHUTDOWN, draft.now_ns, "shut down before it was assigned", status.err)
    elif not is_final(status.state) and task.node_id not in draft.index.nodes:
        status = orphaned(task, draft.now_ns)
    draft.put(
        msgspec.structs.replace(
            task, desired_state=desired, status=status, stop_cause=task.stop_cause or cause, released_at_ns=0
        )
    )
    draft.waiting.pop(task.id, None)


def orphaned(task: Task, now_ns: int) -> TaskStatus:
    """The status of a task whose node was removed while it was not known to have stopped."""
    before = task.status
    return msgspec.structs.replace(
        before, state=TaskState.ORPHANED, timestamp_ns=now_ns, message="node was removed", err="node was removed"
    )


def running_since_ns(task: Task) -> int | None:
    """When the task reached RUNNING; None when it never did, as far as is known."""
    if task.status.state is RUNNING:
        return task.status.timestamp_ns
    return next((s.timestamp_ns for s in task.history if s.state is RUNNING), None)


def ended_how(task: Task) -> str:
    """How a finished task ended, in words."""
    status = task.status
    if status.state is COMPLETE:
        return "it completed"
    words = status.err or (f"exit code {status.exit_code}" if status.exit_code else status.message)
    return f"{title(status.state)}: {words}" if words else title(status.state)


def replaces(task: Task, why: str) -> str:
    """The cause of a replacement, in words."""
    return f"replaces {task_name(task)} ({task.id}): {why}"


def why_replaced(replacement: Task) -> str:
    """The reason in the cause of a replacement."""
    return replacement.cause.partition(": ")[2] or replacement.cause


def hostname(node: Node) -> str:
    """What users call the node."""
    return node.description.hostname or node.id
