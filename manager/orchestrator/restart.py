"""What happens to a task that stopped, or that its node cannot keep: whether it is replaced, and when.

Owns the restart policy (condition, delay, attempts, window) and the release of delayed replacements. A replacement is
made at once, with desired READY while it has to wait: for the delay, and for the task before it to stop. Unlike
SwarmKit, a task that had run for longer than its delay is replaced without one; and what leaves a node that is drained stops, where the service's
updates are start-first, when its replacement runs or finds no place. Source: SwarmKit's
`manager/orchestrator/restart/restart.go`.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Final

import msgspec

from cluster.model.objects import NodeState, Service, Task
from cluster.model.specs import Availability, RestartCondition, RestartPolicy, UpdateOrder
from cluster.model.task_state import ASSIGNED, COMPLETE, PENDING, RUNNING, SHUTDOWN, is_final
from manager.draft import Draft
from manager.orchestrator.agenda import SlotKey
from manager.orchestrator.tasks import (
    REPLACED,
    ended_how,
    goal,
    has_completed,
    is_dirty,
    is_live,
    may_run,
    new_task,
    node_trouble,
    replaces,
    running_since_ns,
    stop,
    why_replaced,
)

DEFAULT_DELAY_NS: Final = 5_000_000_000
MAX_STOP_WAIT_NS: Final = 60_000_000_000
"""How long a replacement waits, after its delay, for the task before it to stop."""


def policy_of(task: Task) -> RestartPolicy:
    return task.spec.restart or RestartPolicy()


def delay_ns(task: Task) -> int:
    """The task's restart delay."""
    delay = policy_of(task).delay_ns
    return DEFAULT_DELAY_NS if delay is None else delay


def _due_ns(draft: Draft, task: Task) -> int:
    """When the task's delay is over. A time further ahead than the delay was written by a leader whose clock ran
    ahead: nobody waits for that time to come.
    """
    return task.released_at_ns if task.released_at_ns <= draft.now_ns + delay_ns(task) else draft.now_ns


def is_wanted(draft: Draft, task: Task, slot_tasks: list[Task]) -> bool:
    """Whether the policy wants this task replaced. `slot_tasks`: all of its slot."""
    policy = policy_of(task)
    condition = policy.condition or RestartCondition.ANY
    if condition is RestartCondition.NONE:
        return False
    if condition is RestartCondition.ON_FAILURE and task.status.state is COMPLETE:
        return False
    if not policy.max_attempts:
        return True
    made = sorted(t.meta.created_at_ns for t in slot_tasks if t.spec_version == task.spec_version)
    restarts = made[1:]  # the first was no restart
    if policy.window_ns:
        restarts = [at for at in restarts if at > draft.now_ns - policy.window_ns]
    return len(restarts) < policy.max_attempts


def kept_for_attempts(task: Task) -> int:
    """How many finished tasks of a slot have to be kept so that attempts can be counted."""
    attempts = policy_of(task).max_attempts
    return attempts + 1 if attempts else bool(task.job_iteration)  # a job's slot that failed for good stays so


def _waits_ns(draft: Draft, task: Task) -> int:
    """How long the replacement of this task has to wait, apart from the task's own stopping."""
    node = draft.index.nodes.get(task.node_id)
    if node is not None and node.spec.availability is Availability.DRAIN:
        return 0
    if may_run(draft, task):
        return 0  # its constraints no longer hold: nothing of it was the task's fault
    delay, since = delay_ns(task), running_since_ns(task)
    until = task.status.timestamp_ns if is_final(task.status.state) else draft.now_ns
    return 0 if since is not None and until - since >= delay else delay


def is_at_rest(draft: Draft, task: Task) -> bool:
    """Whether a slot's only task is on its way to run, or running where it may: the common case, in which nothing is to be done."""
    return task.desired_state is RUNNING and not is_final(task.status.state) and not (task.node_id and node_trouble(draft, task))


def check(draft: Draft, service: Service, key: SlotKey, slot_tasks: list[Task]) -> None:
    """Look at every live task of one slot: replace those that stopped or lost their node, release those that waited.

    `slot_tasks`: the newest first.
    """
    slot_tasks = _let_go(draft, service, slot_tasks)
    newer: Task | None = None
    for task in slot_tasks:
        if not is_live(task) or has_completed(task):
            continue
        trouble = node_trouble(draft, task)
        if is_final(task.status.state) and not newer and draft.now_ns < _due_ns(draft, task):
            # it ended before it was to run (its image is missing): its own delay has to pass before its replacement is prepared
            draft.index.agenda.arm(task.released_at_ns, task.service_id, key)
        elif is_final(task.status.state):
            retire(draft, service, task, slot_tasks, ended_how(task), replace=not newer and not _is_stood_in_for(draft, service, task, slot_tasks))
        elif trouble and moves_start_first(draft, service, task):
            if newer is None or is_final(newer.status.state):
                new_task(draft, service, slot=task.slot, waits=True, released_at_ns=_next_try_ns(draft, task, slot_tasks), cause=replaces(task, trouble))
        elif trouble:
            retire(draft, service, task, slot_tasks, trouble, replace=not newer)
        elif task.desired_state < RUNNING:
            release(draft, service, key, task, slot_tasks)
        newer = newer or task


def _let_go(draft: Draft, service: Service, slot_tasks: list[Task]) -> list[Task]:
    """Stop what had stayed until another runs in its place, or because its node is drained and the other finds no place; also where an update had begun the
    change and was paused, or replaced by the next, in the middle of it. Gives the tasks as they are then."""
    live = [task for task in slot_tasks if is_live(task)]
    if len(live) < 2 or live[0].job_iteration:
        return slot_tasks
    newest, *older = live
    for task in _overtaken(draft, service, live):
        stop(draft, task, SHUTDOWN, REPLACED)
    for task in older:
        if not _run_the_same(draft, service, task, newest) or is_final(task.status.state):
            continue
        finds_no_place = newest.status.state is PENDING and bool(newest.status.err) and moves_start_first(draft, service, task)
        if newest.status.state is RUNNING or finds_no_place:
            stop(draft, task, SHUTDOWN, node_trouble(draft, task) or why_replaced(newest))
    return [draft.index.tasks[task.id] for task in slot_tasks]


def _overtaken(draft: Draft, service: Service, live: list[Task]) -> list[Task]:
    """Those of a slot, the newest first, in whose place one of another spec runs: one of the present spec if there is such a one, else the newest."""
    running = [t for t in live if t.status.state is RUNNING]
    kept = next((t for t in running if not is_dirty(draft, service, t)), live[0] if live[0] in running else None)
    if kept is None:
        return []
    others = [(place, t) for place, t in enumerate(live) if t.spec_version != kept.spec_version and not is_final(t.status.state)]
    return [t for place, t in others if place > live.index(kept) or is_dirty(draft, service, t)]


def moves_start_first(draft: Draft, service: Service, task: Task) -> bool:
    """Whether the task goes on, on a node that is drained, until another runs in its place."""
    node, config = draft.index.nodes.get(task.node_id), service.spec.update
    return (
        config is not None
        and config.order is UpdateOrder.START_FIRST
        and task.slot > 0
        and task.status.state is RUNNING
        and node is not None
        and node.spec.availability is Availability.DRAIN
        and node.status.state is not NodeState.DOWN
    )


def _next_try_ns(draft: Draft, task: Task, slot_tasks: list[Task]) -> int:
    """When a task may stand in for this one: after its delay, if one before it failed to."""
    newer = takewhile(lambda t: t.id != task.id, slot_tasks)
    failed = [t.status.timestamp_ns for t in newer if is_final(t.status.state)]
    return max(failed, default=draft.now_ns - delay_ns(task)) + delay_ns(task)


def _is_stood_in_for(draft: Draft, service: Service, task: Task, slot_tasks: list[Task]) -> bool:
    """Whether the task was to take the place of another, which is still there and runs the same."""
    return any(t is not task and is_live(t) and not is_final(t.status.state) and _run_the_same(draft, service, t, task) for t in slot_tasks)


def _run_the_same(draft: Draft, service: Service, one: Task, other: Task) -> bool:
    """A change of scale alone makes nothing else of a service."""
    return one.spec_version == other.spec_version or not (is_dirty(draft, service, one) or is_dirty(draft, service, other))


def retire(draft: Draft, service: Service, task: Task, slot_tasks: list[Task], why: str, *, replace: bool) -> None:
    """Let this task be over, and put another in its place when the policy wants it and `replace` says so."""
    wanted = replace and is_wanted(draft, task, slot_tasks)
    release_at_ns = max(draft.now_ns + _waits_ns(draft, task), _due_ns(draft, task))
    waits = release_at_ns > draft.now_ns or any(
        may_run(draft, t) for t in slot_tasks if t.id == task.id or not is_live(t)
    )
    stop(draft, task, SHUTDOWN, "" if is_final(task.status.state) else why)
    if not wanted:
        return
    new_task(
        draft, service, slot=task.slot, node_id="" if task.slot else task.node_id,
        waits=waits, released_at_ns=release_at_ns, cause=replaces(task, why),
    )  # fmt: skip


def release(draft: Draft, service: Service, key: SlotKey, task: Task, slot_tasks: list[Task]) -> None:
    """Let a task that waited run, when its time has come and every task of its slot that is to stop has stopped."""
    if task.status.state < ASSIGNED and task.status.err and any(t is not task and is_live(t) for t in slot_tasks):
        return  # it is to start first and finds no place: what runs may have to stop for it
    due_ns = _due_ns(draft, task)
    if draft.now_ns < due_ns:
        draft.index.agenda.arm(due_ns, task.service_id, key)
        return
    gives_up_ns = min(task.released_at_ns, draft.now_ns) + MAX_STOP_WAIT_NS
    if draft.now_ns < gives_up_ns and any(may_run(draft, t) for t in slot_tasks if t is not task and not is_live(t)):
        draft.index.agenda.arm(gives_up_ns, task.service_id, key)
        return
    draft.put(msgspec.structs.replace(task, desired_state=goal(service)))
