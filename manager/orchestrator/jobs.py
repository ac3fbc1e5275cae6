"""Jobs: tasks that are to complete, not to run for ever, and that run again with every update or by a schedule.

Owns which slots (replicated jobs: as many at once as may be, until enough have completed) or nodes (global jobs: those that were there
when the run began) get a task of the present run, and when a scheduled run begins; what happens to a task that fails is restart.py's.
Of earlier runs the history stays. Unlike SwarmKit, a slot whose task must not be restarted stays failed, and a replicated job leaves a
node that goes. Source: SwarmKit's `manager/orchestrator/jobs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import msgspec

from cluster.model import schedule
from cluster.model.ids import NodeId
from cluster.model.objects import Node, Service, Task
from cluster.model.specs import ServiceModeKind
from cluster.model.task_state import TaskState, is_final
from manager.draft import Draft
from manager.orchestrator import global_service, restart
from manager.orchestrator.agenda import SlotKey
from manager.orchestrator.reaper import reap
from manager.orchestrator.slots import in_order
from manager.orchestrator.tasks import has_completed, hostname, is_live, may_run, new_task, stop
from manager.scheduler.filters import is_ready

AGAIN: Final = "the job runs again"


def reconcile(draft: Draft, service: Service, keys: Iterable[SlotKey]) -> None:
    """Bring the job's present run on. `keys`: the slots, or ids of the nodes, to look at."""
    is_global = service.spec.mode.kind is ServiceModeKind.GLOBAL_JOB
    looked = draft.looked.setdefault(service.id, [])
    for key in in_order(keys):
        if draft.full:
            return
        for task in draft.tasks_in(service.id, key):
            if task.job_iteration != service.job_iteration:
                _end_earlier(draft, task)
        if not _settled(draft, service, key):
            if is_global:
                _at_node(draft, service, NodeId(str(key)))
            else:
                restart.check(draft, service, key, draft.tasks_in(service.id, key))
        reap(draft, service.id, key)
        looked.append(key)
    if not is_global:
        _start_more(draft, service)
    _begin_when_due(draft, service)


def _end_earlier(draft: Draft, task: Task) -> None:
    """A task of an earlier run goes, unless it is history."""
    if not is_final(task.status.state):
        stop(draft, task, TaskState.REMOVE, AGAIN)
    elif not has_completed(task):
        stop(draft, task, TaskState.SHUTDOWN, AGAIN)


def _settled(draft: Draft, service: Service, key: SlotKey) -> bool:
    """Whether the slot has completed; then nothing else is wanted there (a task that was given up may complete at last)."""
    present = [t for t in draft.tasks_in(service.id, key) if t.job_iteration == service.job_iteration]
    if not any(has_completed(task) for task in present):
        return False
    for task in present:
        if is_live(task) and not has_completed(task):
            stop(draft, task, TaskState.SHUTDOWN, "the task before it has completed")
    return True


def totals(service: Service) -> tuple[int, int]:
    """How many tasks of a replicated job may run at once, and how many are to complete."""
    mode = service.spec.mode
    concurrent = 1 if mode.max_concurrent is None else mode.max_concurrent
    return concurrent, concurrent if mode.replicas is None else mode.replicas


def _start_more(draft: Draft, service: Service) -> None:
    if not service.job_iteration:
        return
    run = draft.index.slots.run_of(service)
    concurrent, total = totals(service)
    missing = min(concurrent - len(run.active), total - len(run.kept))
    if missing <= 0:
        return
    for slot in _free(draft, service, total):
        if missing <= 0 or draft.full:
            return
        waits = any(may_run(draft, task) for task in draft.tasks_in(service.id, slot))  # of the run before
        new_task(draft, service, slot=slot, waits=waits, released_at_ns=draft.now_ns, cause=_cause(service))
        missing -= 1


def _free(draft: Draft, service: Service, total: int) -> Iterator[int]:
    """Free slots, at first those behind the occupied ones: they are filled in order, so nothing is searched through."""
    occupied = len(draft.index.slots.run_of(service).kept)
    numbers = chain(range(occupied + 1, total + 1), range(1, occupied + 1))
    return (slot for slot in numbers if slot not in draft.index.slots.run_of(service).kept)


def _cause(service: Service) -> str:
    return f"run {service.job_iteration} of the job"


def _at_node(draft: Draft, service: Service, node_id: NodeId) -> None:
    tasks = draft.tasks_in(service.id, node_id)
    node = global_service.suitable(draft, service, node_id, tasks)
    if node is None:
        return
    if any(is_live(task) for task in _of_this_run(service, tasks)):  # what earlier runs have completed is wished as it is
        restart.check(draft, service, node_id, tasks)
    elif is_ready(node) and _takes_part(service, node) and global_service.ended_for_its_node(_of_this_run(service, tasks)):
        waits = any(may_run(draft, task) for task in tasks)
        cause = f"{_cause(service)}, on node {hostname(node)}"
        new_task(draft, service, node_id=node_id, waits=waits, released_at_ns=draft.now_ns, cause=cause)


def _of_this_run(service: Service, tasks: list[Task]) -> list[Task]:
    return [task for task in tasks if task.job_iteration == service.job_iteration]


def _takes_part(service: Service, node: Node) -> bool:
    """A node that came later has no part in this run. Which came first the log says, whatever the leaders' clocks said; but of a scheduled job the spec
    may have changed since its run began."""
    if not service.job_iteration:
        return False
    if schedule.of(service.spec.labels):
        return node.meta.created_at_ns <= service.job_begun_at_ns
    return node.meta.created <= service.spec_version


def _begin_when_due(draft: Draft, service: Service) -> None:
    """Begin a scheduled job's next run. One that comes due while nobody leads, or while the run before is not over, is made up for as
    soon as possible, and once, however many were missed. Its tasks are the next plan's: the store counts it first.
    """
    text = schedule.of(service.spec.labels)
    if not text or draft.full or not _is_over(draft, service):
        return
    due_ns = schedule.next_after(schedule.parse(text), service.job_begun_at_ns)
    assert due_ns is not None, "manager/control lets no schedule in that never comes"
    if draft.now_ns < due_ns:
        draft.index.agenda.arm(due_ns, service.id, None)
        return
    draft.put(msgspec.structs.replace(service, job_iteration=service.job_iteration + 1, job_begun_at_ns=draft.now_ns))


def _is_over(draft: Draft, service: Service) -> bool:
    """Whether the present run has nothing left to do (a run that has not begun has nothing)."""
    run = draft.index.slots.run_of(service)
    if not service.job_iteration:
        return True
    if service.spec.mode.kind is ServiceModeKind.GLOBAL_JOB:
        return not run.active
    concurrent, total = totals(service)
    return not run.active and (not concurrent or len(run.kept) >= total)
