"""Tasks by service and slot: which slots a service occupies, and by what kinds of tasks.

Owns the grouping; never decides. A slot is occupied while one of its tasks is not on its way out (desired below
REMOVE): also a slot whose last task finished for good. All of it is kept by change, so that nobody has to look at every slot to learn how many there
are, which number is free, or whether any of them runs something old. Of a slot whose one task runs nothing is held but that task's id: most are like that.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Any, Final

from cluster.model.ids import NodeId, ServiceId, TaskId
from cluster.model.objects import Endpoint, Service, Task
from cluster.model.specs import TaskSpec
from cluster.model.task_state import COMPLETE, REMOVE, RUNNING, is_wished
from manager.orchestrator.agenda import SlotKey

Make = tuple[int, Endpoint | None]
"""What tells the tasks of one service apart by what they run: spec version and endpoint."""


Tally = tuple[int, int, int]
"""Of a slot's tasks: how many are not on their way out, how many of those are wished to run, how many of those do so."""

_USUAL: Final[Tally] = (1, 1, 1)
_NONE: Final[Tally] = (0, 0, 0)


def slot_key(task: Task) -> SlotKey:
    """What tells the places of one service apart: the slot number, or the node of a global service's task."""
    return task.slot or task.node_id


def is_active(task: Task) -> bool:
    """Whether a job's task is still to complete: it is on its way, runs, or has failed and is to be replaced."""
    return bool(task.job_iteration) and is_wished(task.desired_state) and task.status.state is not COMPLETE


def in_order(keys: Iterable[SlotKey]) -> list[SlotKey]:
    """Slot numbers ascending, then node ids: the order in which slots are looked at, whatever way they came about."""
    keys = list(keys)
    if len(keys) < 2:
        return keys
    return [*sorted(key for key in keys if isinstance(key, int)), *sorted(key for key in keys if isinstance(key, str))]


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
    """One service's tasks by slot; which slots are kept, which of them are unlike the others; what the tasks that are wished to run are made from, and which
    slots run on a node."""

    __slots__ = ("_free", "_given_up", "_ids", "_tallies", "_top", "makes", "nodes", "over", "runs", "specs")

    def __init__(self) -> None:
        self._ids: dict[SlotKey, TaskId | tuple[TaskId, ...]] = {}  # few for each slot: the history is bounded
        self._given_up: dict[SlotKey, None] = {}  # the slots that are not kept, all of whose tasks are on their way out: few, and soon gone
        self._tallies: dict[SlotKey, Tally] = {}  # of the slots that are kept, but for the usual ones
        self.over = 0  # kept slots without a task that is wished to run
        self.nodes: dict[NodeId, dict[SlotKey, int]] = {}
        self.makes: dict[Make, int] = {}  # of those wished to run
        self.specs: dict[int, TaskSpec] = {}  # by spec version, of all that `makes` counts
        self.runs: dict[int, JobRun] = {}  # of a job, whose tasks count in their slot and here only: by iteration
        self._top = 0  # each number up to here is kept or in _free
        self._free: list[int] = []  # a heap; what is kept again is passed over

    def ids(self, key: SlotKey) -> tuple[TaskId, ...]:
        """The tasks of this slot, none where it has none."""
        found = self._ids.get(key, ())
        return found if isinstance(found, tuple) else (found,)

    def only(self, key: SlotKey) -> TaskId | None:
        """The slot's task, if it is the only one."""
        found = self._ids.get(key)
        return None if isinstance(found, tuple) else found

    @property
    def keys(self) -> KeysView[SlotKey]:
        """The slots that have tasks, kept or not."""
        return self._ids.keys()

    @property
    def kept(self) -> Iterator[SlotKey]:
        """The slots that are kept."""
        return (key for key in self._ids if key not in self._given_up)

    @property
    def number_kept(self) -> int:
        return len(self._ids) - len(self._given_up)

    def is_kept(self, key: SlotKey) -> bool:
        return key in self._ids and key not in self._given_up

    def each(self) -> Iterator[tuple[TaskId, ...]]:
        """Slot by slot, the ids of its tasks."""
        return (self.ids(key) for key in self._ids)

    def tally(self, key: SlotKey) -> Tally:
        """How many of the slot's tasks count."""
        return self._tallies.get(key, _USUAL) if self.is_kept(key) else _NONE

    def idle(self) -> list[SlotKey]:
        """The kept slots of which no task runs."""
        return [key for key, (_, _, running) in self._tallies.items() if not running]

    def doubled(self) -> list[SlotKey]:
        """The slots of which several tasks are wished to run."""
        return [key for key, (_, live, _) in self._tallies.items() if live > 1]

    def lowest_free(self) -> int:
        """The lowest slot number from 1 that is not kept."""
        while self._free and self.is_kept(self._free[0]):
            heapq.heappop(self._free)
        return self._free[0] if self._free else self._top + 1

    def lone(self) -> TaskId | None:
        """The service's task, if it is the only one."""
        found = next(iter(self._ids.values())) if len(self._ids) == 1 else ()
        return None if isinstance(found, tuple) else found

    def add(self, task: Task) -> None:
        """The task is there, and counts."""
        key = slot_key(task)
        if key in self._ids:
            self._ids[key] = (*self.ids(key), task.id)
        else:
            self._ids[key] = task.id
            self._given_up[key] = None  # until one counts
        self.count(task)

    def remove(self, task: Task) -> None:
        """The task is gone."""
        self.discount(task)
        key = slot_key(task)
        rest = tuple(other for other in self.ids(key) if other != task.id)
        if rest:
            self._ids[key] = rest if len(rest) > 1 else rest[0]
        else:
            del self._ids[key]
            del self._given_up[key]

    def count(self, task: Task) -> None:
        """What this task is wished to be counts from now on."""
        desired, key = task.desired_state, slot_key(task)
        if desired >= REMOVE:
            return
        live = not task.job_iteration and desired <= RUNNING
        runs = live and task.status.state is RUNNING
        self._weigh(key, 1, live, runs)
        if task.job_iteration:
            self.runs.setdefault(task.job_iteration, JobRun()).count(key, task)
            return
        if isinstance(key, int) and key > self._top:
            if key > self._top + 1:
                self._free += range(self._top + 1, key)  # which are above all of the heap's
            self._top = key
        if live:
            make = (task.spec_version, task.endpoint)
            self.makes[make] = self.makes.get(make, 0) + 1
            self.specs[task.spec_version] = task.spec
        if runs:
            on_node = self.nodes.setdefault(task.node_id, {})
            on_node[key] = on_node.get(key, 0) + 1

    def discount(self, task: Task) -> None:
        """What this task was wished to be counts no more."""
        if task.desired_state >= REMOVE:
            return
        key = slot_key(task)
        live = not task.job_iteration and task.desired_state <= RUNNING
        runs = live and task.status.state is RUNNING
        self._weigh(key, -1, -live, -runs)
        if task.job_iteration:
            run = self.runs[task.job_iteration]
            run.discount(key, task)
            if not run.kept:
                del self.runs[task.job_iteration]
            return
        if isinstance(key, int) and key in self._given_up:
            heapq.heappush(self._free, key)
        if live:
            _less(self.makes, (task.spec_version, task.endpoint))
            if not any(version == task.spec_version for version, _ in self.makes):
                del self.specs[task.spec_version]
        if runs:
            on_node = self.nodes[task.node_id]
            _less(on_node, key)
            if not on_node:
                del self.nodes[task.node_id]

    def _weigh(self, key: SlotKey, kept: int, live: int, running: int) -> None:
        had_kept, had_live, had_running = _NONE if key in self._given_up else self._tallies.get(key, _USUAL)
        has = has_kept, has_live, _ = (had_kept + kept, had_live + live, had_running + running)
        self.over += (has_kept > 0 and not has_live) - (had_kept > 0 and not had_live)
        if not has_kept:
            self._given_up[key] = None
            self._tallies.pop(key, None)
            return
        if not had_kept:
            del self._given_up[key]
        if has == _USUAL:
            self._tallies.pop(key, None)
        else:
            self._tallies[key] = has


def _less(counts: dict[Any, int], key: object) -> None:
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1


class SlotBook:
    """All services' slots. Owned by the index, whose tasks it reads. Of a service that has one task nothing is held but that task's id until somebody looks at
    its slots: one-off services are many, and mostly nobody does."""

    def __init__(self, tasks: Mapping[TaskId, Task]) -> None:
        self._tasks = tasks
        self._lone: dict[ServiceId, TaskId] = {}
        self._services: dict[ServiceId, ServiceSlots] = {}

    @property
    def services(self) -> tuple[ServiceId, ...]:
        """Those that have tasks."""
        return (*self._lone, *self._services)

    def lone(self, service_id: ServiceId) -> TaskId | None:
        """The service's task, if it is the only one."""
        slots = self._services.get(service_id)
        return self._lone.get(service_id) if slots is None else slots.lone()

    def run_of(self, service: Service) -> JobRun:
        """The present run of this job; an empty one when it has no task."""
        return self.of(service.id).runs.get(service.job_iteration) or JobRun()

    def of(self, service_id: ServiceId) -> ServiceSlots:
        """The slots of this service; empty ones when it has no task."""
        if service_id in self._lone:
            self._services[service_id] = self._made(self._lone.pop(service_id))
        return self._services.get(service_id) or ServiceSlots()

    def each(self) -> Iterator[tuple[ServiceId, ServiceSlots]]:
        """The slots of all services, for who compares them: nothing more is held for that."""
        yield from self._services.items()
        for service_id, task_id in self._lone.items():
            yield service_id, self._made(task_id)

    def _made(self, lone: TaskId) -> ServiceSlots:
        slots = ServiceSlots()
        slots.add(self._tasks[lone])
        return slots

    def add(self, task: Task) -> None:
        if task.service_id in self._services or task.service_id in self._lone:
            self.of(task.service_id).add(task)
        else:
            self._lone[task.service_id] = task.id

    def remove(self, task: Task) -> None:
        if self._lone.pop(task.service_id, None) is not None:
            return
        slots = self._services[task.service_id]
        slots.remove(task)
        if not slots.keys:
            del self._services[task.service_id]

    def move(self, before: Task, after: Task) -> None:
        """The same task, changed (its slot and its spec never are)."""
        if (
            before.desired_state is not after.desired_state
            or (before.status.state is RUNNING) is not (after.status.state is RUNNING)
            or (after.job_iteration and is_active(before) is not is_active(after))
            or (before.endpoint is not after.endpoint and before.endpoint != after.endpoint)
        ) and (slots := self._services.get(before.service_id)) is not None:
            slots.discount(before)
            slots.count(after)
