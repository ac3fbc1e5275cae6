"""Tasks by service and slot: which slots a service occupies, and by what kinds of tasks.

Owns the grouping; never decides. A slot is occupied while one of its tasks is not on its way out (desired below
REMOVE): also a slot whose last task finished for good. All of it is kept by change, so that nobody has to look at every slot to learn how many there
are, which number is free, or whether any of them runs something old.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Any

from cluster.model.ids import NodeId, ServiceId, TaskId
from cluster.model.objects import Endpoint, Service, Task
from cluster.model.specs import TaskSpec
from cluster.model.task_state import TaskState, is_wished
from manager.orchestrator.agenda import SlotKey

Make = tuple[int, Endpoint | None]
"""What tells the tasks of one service apart by what they run: spec version and endpoint."""


def slot_key(task: Task) -> SlotKey:
    """What tells the places of one service apart: the slot number, or the node of a global service's task."""
    return task.slot or task.node_id


def is_active(task: Task) -> bool:
    """Whether a job's task is still to complete: it is on its way, runs, or has failed and is to be replaced."""
    return bool(task.job_iteration) and is_wished(task.desired_state) and task.status.state is not TaskState.COMPLETE


def in_order(keys: Iterable[SlotKey]) -> list[SlotKey]:
    """Slot numbers ascending, then node ids: the order in which slots are looked at, whatever way they came about."""
    return sorted(keys, key=lambda key: (isinstance(key, str), key))


class JobRun:
    """One run of a job: the slots that it occupies, and those where a task is still to complete, each with how many tasks make it so."""

    __slots__ = ("active", "kept")

    def __init__(self) -> None:
        self.kept: dict[SlotKey, int] = {}
        self.active: dict[SlotKey, int] = {}

    def count(self, key: SlotKey, task: Task) -> None:
        self.kept[key] = self.kept.get(key, 0) + 1
        if is_active(task):
            self.active[key] = self.active.get(key, 0) + 1

    def discount(self, key: SlotKey, task: Task) -> None:
        _less(self.kept, key)
        if is_active(task):
            _less(self.active, key)


class ServiceSlots:
    """One service's tasks by slot; how many of each slot are not on their way out (`kept`), are wished to run (`live`), do so (`running`); what the live
    ones run, and which slots run on a node."""

    __slots__ = ("_free", "_top", "kept", "live", "makes", "nodes", "running", "runs", "specs", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[SlotKey, tuple[TaskId, ...]] = {}  # few for each slot: the history is bounded
        self.kept: dict[SlotKey, int] = {}
        self.live: dict[SlotKey, int] = {}
        self.running: dict[SlotKey, int] = {}
        self.nodes: dict[NodeId, dict[SlotKey, int]] = {}
        self.makes: dict[Make, int] = {}  # of those wished to run
        self.specs: dict[int, TaskSpec] = {}  # by spec version, of all that `makes` counts
        self.runs: dict[int, JobRun] = {}  # of a job, whose tasks count in `tasks`, `kept` and here only: by iteration
        self._top = 0  # each number up to here is kept or in _free
        self._free: list[int] = []  # a heap; what is kept again is passed over

    def lowest_free(self) -> int:
        """The lowest slot number from 1 that is not kept."""
        while self._free and self._free[0] in self.kept:
            heapq.heappop(self._free)
        return self._free[0] if self._free else self._top + 1

    def count(self, task: Task) -> None:
        """What this task is wished to be counts from now on."""
        if task.desired_state >= TaskState.REMOVE:
            return
        key = slot_key(task)
        self.kept[key] = self.kept.get(key, 0) + 1
        if task.job_iteration:
            self.runs.setdefault(task.job_iteration, JobRun()).count(key, task)
            return
        if isinstance(key, int) and key > self._top:
            for number in range(self._top + 1, key):
                heapq.heappush(self._free, number)
            self._top = key
        if task.desired_state <= TaskState.RUNNING:
            self.live[key] = self.live.get(key, 0) + 1
            make = (task.spec_version, task.endpoint)
            self.makes[make] = self.makes.get(make, 0) + 1
            self.specs[task.spec_version] = task.spec
            if task.status.state is TaskState.RUNNING:
                self.running[key] = self.running.get(key, 0) + 1
                on_node = self.nodes.setdefault(task.node_id, {})
                on_node[key] = on_node.get(key, 0) + 1

    def discount(self, task: Task) -> None:
        """What this task was wished to be counts no more."""
        if task.desired_state >= TaskState.REMOVE:
            return
        key = slot_key(task)
        _less(self.kept, key)
        if task.job_iteration:
            run = self.runs[task.job_iteration]
            run.discount(key, task)
            if not run.kept:
                del self.runs[task.job_iteration]
            return
        if isinstance(key, int) and key not in self.kept:
            heapq.heappush(self._free, key)
        if task.desired_state <= TaskState.RUNNING:
            _less(self.live, key)
            _less(self.makes, (task.spec_version, task.endpoint))
            if not any(version == task.spec_version for version, _ in self.makes):
                del self.specs[task.spec_version]
            if task.status.state is TaskState.RUNNING:
                _less(self.running, key)
                on_node = self.nodes[task.node_id]
                _less(on_node, key)
                if not on_node:
                    del self.nodes[task.node_id]


def _less(counts: dict[Any, int], key: object) -> None:
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1


class SlotBook:
    """All services' slots. Owned by the index."""

    def __init__(self) -> None:
        self.services: dict[ServiceId, ServiceSlots] = {}

    def run_of(self, service: Service) -> JobRun:
        """The present run of this job; an empty one when it has no task."""
        return self.of(service.id).runs.get(service.job_iteration) or JobRun()

    def of(self, service_id: ServiceId) -> ServiceSlots:
        """The slots of this service; empty ones when it has no task."""
        return self.services.get(service_id) or ServiceSlots()

    def add(self, task: Task) -> None:
        slots = self.services.get(task.service_id)
        if slots is None:
            slots = self.services[task.service_id] = ServiceSlots()
        key = slot_key(task)
        slots.tasks[key] = (*slots.tasks.get(key, ()), task.id)
        slots.count(task)

    def remove(self, task: Task) -> None:
        slots = self.services[task.service_id]
        key = slot_key(task)
        if rest := tuple(task_id for task_id in slots.tasks[key] if task_id != task.id):
            slots.tasks[key] = rest
        else:
            del slots.tasks[key]
        slots.discount(task)
        if not slots.tasks:
            del self.services[task.service_id]

    def move(self, before: Task, after: Task) -> None:
        """The same task, changed (its slot and its spec never are)."""
        if (
            before.desired_state is not after.desired_state
            or (before.status.state is TaskState.RUNNING) is not (after.status.state is TaskState.RUNNING)
            or is_active(before) is not is_active(after)
            or (before.endpoint is not after.endpoint and before.endpoint != after.endpoint)
        ):
            slots = self.services[before.service_id]
            slots.discount(before)
            slots.count(after)
