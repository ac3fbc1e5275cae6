"""`plan`: what would come of requests that nobody has made: what would be placed where, what stopped, and what nowhere.

The requests are judged by the functions that judge real ones (manager/control) and planned by the planner that plans real ones, on a copy of the store and an
index of its own; agents that do at once as they are told stand in for the nodes, and time passes from one of the planner's deadlines to the next. So the
answer is what is true when the cluster has come to rest, if no node and no container fails meanwhile. Pure; its caller gives it a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

from cluster.model.changes import Change, Kind, Object, status_of
from cluster.model.ids import TaskId
from cluster.model.objects import NodeState, Task, TaskStatus, UpdateState, task_name
from cluster.model.task_state import TaskState, is_final, is_wished
from cluster.wire.calls import NetworkWrite, Preview, PreviewAnswer, PreviewService, PreviewTask
from manager.control import networks, services
from manager.draft import Why
from manager.index import Index
from manager.planner import plan
from manager.store import Event, Store

MAX_PLANS: Final = 2000
MAX_TASKS: Final = 1000
"""Tasks that an answer lists of one service, of each sort."""


def preview(store: Store, request: Preview, now_ns: int, rng: Random) -> PreviewAnswer:
    """`store`: a copy, which is changed. Raises what the requests would be refused with."""
    return _Preview(store, now_ns, rng).answer(request)


class _Preview:
    def __init__(self, store: Store, now_ns: int, rng: Random) -> None:
        self._store = store
        self._now_ns = now_ns
        self._rng = rng
        self._index = Index.build(_objects(store))
        self._reasons: dict[str, Why] = {}
        self._events: list[Event] = []
        self._gone: dict[TaskId, Task] = {}  # tasks that are no more, as they last were: they know why

    def answer(self, request: Preview) -> PreviewAnswer:
        before = {task.id: task for task in self._store.all(Kind.TASK) if _lives(task)}
        for network in request.networks:
            changes, _ = networks.create(self._store, NetworkWrite(network), self._now_ns, self._rng)
            self._commit(changes)
        written = []
        for write in request.services:
            decide = services.update if write.id else services.create
            changes, made = decide(self._store, write, self._now_ns, self._rng)
            self._commit(changes)
            written.append(made.id)
        settled = self._settle(written)
        after = {task.id: task for task in self._store.all(Kind.TASK) if _lives(task) or (task.id not in before and _completed(task))}
        touched = dict.fromkeys(written) | dict.fromkeys(task.service_id for id_, task in before.items() if id_ not in after)
        return PreviewAnswer(tuple(self._service(id_, before, after) for id_ in touched), settled)

    def _commit(self, changes: tuple[Change, ...]) -> None:
        events = self._store.apply(self._store.index + 1, changes).events
        self._events.extend(events)
        self._gone.update((e.before.id, e.before) for e in events if e.after is None and isinstance(e.before, Task))

    def _settle(self, written: Sequence[str]) -> bool:
        """Plan and act until nothing moves any more and the written services have come to rest; whether it came to that. Other services' deadlines, and the
        times of jobs, are not waited for: some of them never end."""
        for _ in range(MAX_PLANS):
            events, self._events = tuple(self._events), []
            made = plan(self._index, events, self._now_ns, self._rng)
            self._reasons.update(made.reasons)
            if made.changes:
                self._commit(made.changes)
                continue
            if reports := self._reports():
                self._commit(reports)
            elif made.deadline_ns is None or not any(map(self._goes_on, written)):
                return True
            else:
                self._now_ns = max(self._now_ns, made.deadline_ns)
        return False

    def _goes_on(self, service_id: str) -> bool:
        """Whether time alone will change something: an update's delay, a task that waits to be started."""
        service = self._store.get(Kind.SERVICE, service_id)
        if service is None:
            return False
        update = service.update_status
        if update is not None and update.state in (UpdateState.UPDATING, UpdateState.ROLLBACK_STARTED):
            return True
        return any(_lives(task) and task.desired_state is TaskState.READY for task in self._store.tasks_of_service(service_id))

    def _reports(self) -> tuple[Change, ...]:
        """What the nodes that can be reached report once every task has become what it is wished to be."""
        reports = []
        for task in self._store.all(Kind.TASK):
            wished = _wished(task)
            node = self._store.get(Kind.NODE, task.node_id) if wished is not None else None
            if wished is not None and node is not None and node.status.state is NodeState.READY:
                reports.append(status_of(task.id, TaskStatus(wished, self._now_ns)))
        return tuple(reports)

    def _service(self, service_id: str, before: dict[TaskId, Task], after: dict[TaskId, Task]) -> PreviewService:
        service = self._store.get(Kind.SERVICE, service_id)
        had = {id_: task for id_, task in before.items() if task.service_id == service_id}
        has = {id_: task for id_, task in after.items() if task.service_id == service_id}
        new = sorted((task for id_, task in has.items() if id_ not in had), key=lambda task: (task.slot, task.node_id))
        placed = [self._shown(task) for task in new if task.status.state >= TaskState.ASSIGNED]
        waiting = [self._shown(task) for task in has.values() if task.status.state < TaskState.ASSIGNED]
        stopped = [self._shown(self._store.get(Kind.TASK, id_) or self._gone.get(id_, task)) for id_, task in had.items() if id_ not in has]
        name = service.spec.name if service is not None else task_name(next(iter(had.values()))).partition(".")[0]
        return PreviewService(
            name, service_id, tuple(placed[:MAX_TASKS]), tuple(stopped[:MAX_TASKS]), tuple(waiting[:MAX_TASKS]),
            len([id_ for id_, task in has.items() if id_ in had and task.status.state >= TaskState.ASSIGNED]),
        )  # fmt: skip

    def _shown(self, task: Task) -> PreviewTask:
        node = self._store.get(Kind.NODE, task.node_id) if task.node_id else None
        hostname = task.node_id if node is None else node.description.hostname or node.id
        reason = self._reasons.get(task.id)
        if not _lives(task) and not _completed(task):
            return PreviewTask(task_name(task), hostname, task.stop_cause)
        nodes = reason.nodes if reason is not None and task.status.state < TaskState.ASSIGNED else ()
        return PreviewTask(task_name(task), hostname, reason.summary if reason is not None else task.status.err, nodes)


def _objects(store: Store) -> Iterable[Object]:
    return (obj for kind in Kind for obj in store.all(kind))


def _lives(task: Task) -> bool:
    return is_wished(task.desired_state) and not is_final(task.status.state)


def _completed(task: Task) -> bool:
    return task.status.state is TaskState.COMPLETE


def _wished(task: Task) -> TaskState | None:
    """What a node would report; None when the task is what it is to be, or nobody's yet."""
    state = task.status.state
    if is_final(state) or state < TaskState.ASSIGNED:
        return None
    if not is_wished(task.desired_state):
        return TaskState.SHUTDOWN
    return task.desired_state if state < task.desired_state else None
