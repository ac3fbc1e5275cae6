"""Rolling updates: bring the slots of a service to its spec, a few at a time, and watch how they do.

Owns the pace (parallelism, delay, order), the judgement (monitor, failure ratio, failure action) and the service's
UpdateStatus. Everything is derived from the store, so that another leader goes on where this one stopped: a slot is
being updated from the making of its new task until that has reached RUNNING or failed, and for the delay after it.
Words and rules are SwarmKit's (`manager/orchestrator/update/updater.go`). Control resets UpdateStatus with a new
spec.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cluster.model.ids import NodeId
from cluster.model.objects import Endpoint, Service, Task, UpdateState, UpdateStatus
from cluster.model.specs import FailureAction, ServiceModeKind, UpdateConfig, UpdateOrder
from cluster.model.task_state import TaskState, is_final
from manager.draft import Draft
from manager.orchestrator.agenda import SlotKey
from manager.orchestrator.slots import in_order
from manager.orchestrator.tasks import (
    REPLACED,
    UPDATE_CAUSE,
    is_dirty,
    is_live,
    may_run,
    new_task,
    running_since_ns,
    stop,
    task_spec_of,
)
from manager.scheduler.filters import PORT_TAKEN, ask_of, fits, is_ready

DEFAULT_MONITOR_NS: Final = 5_000_000_000
_FAILED: Final = frozenset({TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED})
_PAUSED: Final = frozenset({UpdateState.PAUSED, UpdateState.ROLLBACK_PAUSED})


class _Progress(msgspec.Struct):
    """Where an update is: slots still to do, slots being done, and how the done ones do."""

    todo: list[SlotKey] = []
    busy: int = 0
    updated: int = 0
    reached_ns: int = 0  # when the last of the new tasks reached RUNNING or failed
    failed: list[Task] = []
    halfway: list[SlotKey] = []  # start-first: both tasks there, the new one running, or in need of the port that the old one holds
    unproven: int = 0  # start-first: both tasks there, the new one not running


def is_under_way(service: Service) -> bool:
    """Whether an update or a rollback is going on: then any change of the service's tasks may be a step of it."""
    return service.update_status is not None and service.update_status.is_under_way


def advance(draft: Draft, service: Service) -> None:
    """Take the next steps of the service's update, if there is one to make."""
    status = service.update_status
    if (status is not None and status.state in _PAUSED) or (not is_under_way(service) and _is_current(draft, service)):
        return
    config = (
        service.spec.rollback
        if status is not None and status.state is UpdateState.ROLLBACK_STARTED
        else service.spec.update
    ) or UpdateConfig()
    progress = _progress(draft, service, config)
    if not is_under_way(service):
        if not (progress.todo or progress.halfway or progress.unproven):
            return
        service = _write(draft, service, UpdateStatus(UpdateState.UPDATING, draft.now_ns, 0, "update in progress"))
    if _failures_decide(draft, service, config, progress):
        return
    for key in progress.halfway:
        for task in draft.tasks_in(service.id, key):
            if is_live(task) and is_dirty(draft, service, task):
                stop(draft, task, TaskState.SHUTDOWN, REPLACED)
    parallelism = config.parallelism or len(progress.todo) + progress.busy
    for key in progress.todo[: max(0, parallelism - progress.busy)]:
        if draft.full:
            return
        _update_slot(draft, service, config, key)
    if not progress.todo and not progress.busy and not progress.halfway and not progress.unproven:
        _complete(draft, service, config, progress)


def _is_current(draft: Draft, service: Service) -> bool:
    """Whether it is clear without a look at each slot that every task runs what its service asks for."""
    slots = draft.index.slots.of(service.id)
    if slots.over:
        return False
    if not slots.makes.keys() - {(service.spec_version, service.endpoint)}:
        return True
    wanted, endpoint = task_spec_of(service), service.endpoint or Endpoint()
    return all(
        version == service.spec_version or ((had or Endpoint()) == endpoint and slots.specs[version] == wanted)
        for version, had in slots.makes
    )  # fmt: skip


def _progress(draft: Draft, service: Service, config: UpdateConfig) -> _Progress:
    """Look at every slot of the service."""
    found = _Progress()
    idle: list[SlotKey] = []
    running: list[SlotKey] = []
    blocked: list[SlotKey] = []
    freeing = False  # a task that stops may free the port that another waits for
    for key in in_order(draft.index.slots.of(service.id).kept):
        tasks = draft.tasks_in(service.id, key)
        freeing = freeing or any(not is_live(t) and may_run(draft, t) for t in tasks)
        live = [t for t in tasks if is_live(t)]
        clean = [t for t in live if not is_dirty(draft, service, t)]
        if not clean:
            if _may_be_updated(draft, service, key) and (live or is_dirty(draft, service, tasks[0])):
                (running if any(t.status.state is TaskState.RUNNING for t in live) else idle).append(key)
            continue
        if len(clean) < len(live):
            if any(t.status.state is TaskState.RUNNING for t in clean):
                found.halfway.append(key)
            elif any(_waits_for_a_port(draft, service, t) for t in clean):
                blocked.append(key)
            else:
                found.unproven += 1
        if is_under_way(service):
            _follow(draft, service, config, key, tasks, found)
    found.todo = idle + running
    found.unproven += len(blocked) if freeing else 0
    found.halfway += [] if freeing else blocked
    return found


def _waits_for_a_port(draft: Draft, service: Service, task: Task) -> bool:
    """Whether no node takes the task while others hold its port in host mode: then starting first would be waiting for ever."""
    parsed = draft.constraints_of(task.spec)
    if task.status.state >= TaskState.ASSIGNED or PORT_TAKEN not in task.status.err or isinstance(parsed, str):
        return False
    index, ask = draft.index, ask_of(task, parsed, service)
    nodes = (task.node_id,) if task.node_id else index.nodes
    return not any(fits(ask, index.nodes[id_], index.uses[id_]) for id_ in nodes if id_ in index.nodes)


def _may_be_updated(draft: Draft, service: Service, key: SlotKey) -> bool:
    """A global service's task is updated only where its node takes a new one."""
    if service.spec.mode.kind is not ServiceModeKind.GLOBAL:
        return True
    node = draft.index.nodes.get(NodeId(str(key)))
    return node is not None and is_ready(node)


def _follow(
    draft: Draft, service: Service, config: UpdateConfig, key: SlotKey, tasks: list[Task], found: _Progress
) -> None:
    """Count one slot that has been, or is being, updated."""
    assert service.update_status is not None
    begun_ns = service.update_status.started_at_ns
    new = [t for t in tasks if t.spec_version == service.spec_version and t.meta.created_at_ns >= begun_ns]
    if not new or not (len(new) < len(tasks) or any(t.cause.startswith(UPDATE_CAUSE) for t in new)):
        return
    found.updated += 1
    reached = [at for t in new if (at := _reached_ns(t, draft.now_ns)) is not None]
    if not reached:
        found.busy += 1
        return
    found.reached_ns = max(found.reached_ns, *reached)
    due_ns = min(reached) + config.delay_ns
    if draft.now_ns < due_ns:
        found.busy += 1
        draft.index.agenda.arm(due_ns, service.id, None)
    found.failed.extend(t for t in new if _has_failed(t, _monitor_ns(config)))


def _reached_ns(task: Task, now_ns: int) -> int | None:
    """When the task reached RUNNING or was over; None while it has done neither. By a node's clock that runs ahead it
    was long ago: nobody waits for that time to come.
    """
    since = running_since_ns(task)
    if since is None and not is_final(task.status.state):
        return None
    at_ns = task.status.timestamp_ns if since is None else since
    return at_ns if at_ns <= now_ns else 0


def _monitor_ns(config: UpdateConfig) -> int:
    return DEFAULT_MONITOR_NS if config.monitor_ns is None else config.monitor_ns


def _has_failed(task: Task, monitor_ns: int) -> bool:
    """Whether the task left RUNNING by itself before, or within the monitoring time of, reaching it."""
    if task.status.state not in _FAILED or task.stop_cause:
        return False
    since = running_since_ns(task)
    return since is None or task.status.timestamp_ns - since <= monitor_ns


def _failures_decide(draft: Draft, service: Service, config: UpdateConfig, progress: _Progress) -> bool:
    """Pause or roll back when too many of the new tasks have failed. True when the update ends here."""
    slots = progress.updated + len(progress.todo)
    if not progress.failed or len(progress.failed) / max(slots, 1) <= config.max_failure_ratio:
        return False
    if config.failure_action is FailureAction.CONTINUE:
        return False
    assert service.update_status is not None
    task = max(progress.failed, key=lambda t: (t.status.timestamp_ns, t.id))
    because = f"due to failure or early termination of task {task.id}"
    begun_ns = service.update_status.started_at_ns
    rolling_back = service.update_status.state is UpdateState.ROLLBACK_STARTED
    if config.failure_action is FailureAction.ROLLBACK and not rolling_back and service.previous_spec is not None:
        back = msgspec.structs.replace(service, spec=service.previous_spec, previous_spec=None)
        _write(
            draft, back, UpdateStatus(UpdateState.ROLLBACK_STARTED, draft.now_ns, 0, f"update rolled back {because}")
        )
        return True
    state = UpdateState.ROLLBACK_PAUSED if rolling_back else UpdateState.PAUSED
    word = "rollback" if rolling_back else "update"
    _write(draft, service, UpdateStatus(state, begun_ns, 0, f"{word} paused {because}"))
    return True


def _update_slot(draft: Draft, service: Service, config: UpdateConfig, key: SlotKey) -> None:
    """Put a new task into this slot, and end the old ones at once; start-first keeps one that runs until the new one
    does."""
    tasks = draft.tasks_in(service.id, key)
    old = [t for t in tasks if is_live(t)]
    running = [t for t in old if t.status.state is TaskState.RUNNING]
    kept = running[0] if running and config.order is UpdateOrder.START_FIRST else None
    waits = any(may_run(draft, t) for t in tasks if t is not kept)
    for task in old:
        if task is not kept:
            stop(draft, task, TaskState.SHUTDOWN, REPLACED)
    slot, node_id = (key, "") if isinstance(key, int) else (0, key)
    new_task(
        draft, service, slot=slot, node_id=node_id,
        waits=waits, released_at_ns=draft.now_ns, cause=UPDATE_CAUSE,
    )  # fmt: skip


def _complete(draft: Draft, service: Service, config: UpdateConfig, progress: _Progress) -> None:
    """Everything is up to date: say so once the last one has been watched for long enough."""
    watched_ns = progress.reached_ns + _monitor_ns(config)
    if progress.reached_ns and draft.now_ns < watched_ns:
        draft.index.agenda.arm(watched_ns, service.id, None)
        return
    assert service.update_status is not None
    begun_ns = service.update_status.started_at_ns
    if service.update_status.state is UpdateState.ROLLBACK_STARTED:
        done = UpdateStatus(UpdateState.ROLLBACK_COMPLETED, begun_ns, draft.now_ns, "rollback completed")
    else:
        done = UpdateStatus(UpdateState.COMPLETED, begun_ns, draft.now_ns, "update completed")
    _write(draft, service, done)


def _write(draft: Draft, service: Service, status: UpdateStatus) -> Service:
    draft.put(msgspec.structs.replace(service, update_status=status))
    return draft.index.services[service.id]
