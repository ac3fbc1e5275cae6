"""Tasks that may be forgotten: those on their way out once they have stopped, and old history.

Owns when a task is deleted: never one that may still run on a node that is there. Source: SwarmKit's
`manager/orchestrator/taskreaper`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from cluster.model.ids import ServiceId
from cluster.model.objects import Task
from cluster.model.task_state import TaskState, is_final
from manager.draft import Draft
from manager.orchestrator.agenda import SlotKey
from manager.orchestrator.restart import kept_for_attempts
from manager.orchestrator.slots import in_order
from manager.orchestrator.tasks import is_live, orphaned, stop

DEFAULT_HISTORY: Final = 5


def history_limit(draft: Draft) -> int:
    """How many finished tasks are kept per slot; below 0: all."""
    cluster = next(iter(draft.index.clusters.values()), None)
    return cluster.spec.task_history_limit if cluster is not None else DEFAULT_HISTORY


def reap(draft: Draft, service_id: ServiceId, key: SlotKey) -> None:
    """Forget of one slot what may be forgotten."""
    tasks = draft.tasks_in(service_id, key)
    finished = 0
    limit = history_limit(draft)
    if limit >= 0 and tasks:
        limit = max(limit, kept_for_attempts(tasks[0]))
    service = draft.index.services.get(service_id)
    for task in tasks:
        lost = is_lost(draft, task)
        if lost:
            draft.put(msgspec.structs.replace(task, status=orphaned(task, draft.now_ns)))
        over = lost or is_final(task.status.state)
        if task.desired_state >= TaskState.REMOVE:
            if over or task.status.state < TaskState.ASSIGNED:
                draft.delete_task(task)
        elif over and (not is_live(task) or (service is not None and task.job_iteration != service.job_iteration)):
            finished += 1
            if 0 <= limit < finished:
                draft.delete_task(task)


def is_lost(draft: Draft, task: Task) -> bool:
    """Whether the task was on a node that is gone, and nobody knows how it ended."""
    state = task.status.state
    return state >= TaskState.ASSIGNED and not is_final(state) and task.node_id not in draft.index.nodes


def remove_service(draft: Draft, service_id: ServiceId, keys: Iterable[SlotKey]) -> None:
    """The service is gone: end its tasks in these slots, forget those that have ended."""
    looked = draft.looked.setdefault(service_id, [])
    for key in in_order(keys):
        if draft.full:
            return
        for task in draft.tasks_in(service_id, key):
            stop(draft, task, TaskState.REMOVE, "service removed")
        reap(draft, service_id, key)
        looked.append(key)
