"""How long the planner takes for one event, and at how many objects it looks, on a cluster where all runs: a task dies, a node goes down, a service is scaled
up or down by one. In processor time, with what it takes to make and commit the plans that follow. Work goes with what changed: a cluster ten times as large
is to show the same number of objects.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from bench.planned import Planned, node, running, service
from bench.report import Report
from cluster.model.changes import Change, Kind, created, status_of, updated
from cluster.model.objects import NodeState, Service, TaskStatus
from cluster.model.specs import ServiceMode, ServiceModeKind
from cluster.model.task_state import TaskState
from manager.index import Index
from manager.orchestrator.slots import SlotBook
from manager.scheduler.classes import ClassBook

SIZES = ((1000, 10_000), (10_000, 100_000))
SERVICES = 100


class Looked(dict[Any, Any]):
    """A table that counts how many of its objects were looked at."""

    count = 0

    def __getitem__(self, key: Any) -> Any:
        self.count += 1
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        self.count += 1
        return super().get(key, default)

    def __iter__(self) -> Iterator[Any]:
        self.count += len(self)
        return super().__iter__()

    def values(self) -> Any:
        self.count += len(self)
        return super().values()

    def items(self) -> Any:
        self.count += len(self)
        return super().items()


class CountedIndex(Index):
    """The planner's index over tables that count."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks, self.nodes, self.services, self.uses = Looked(), Looked(), Looked(), Looked()
        self.classes, self.slots = ClassBook(self.nodes, self.uses), SlotBook(self.tasks)

    @property
    def looked(self) -> int:
        return sum(table.count for table in (self.tasks, self.nodes, self.services, self.uses) if isinstance(table, Looked))


def measure(report: Report, runs: int) -> None:
    for nodes, tasks in SIZES:
        world = _running(nodes, tasks)
        for what, event in EVENTS.items():
            for number in range(runs + 1):
                spent_ms, looked = _planned(world, event(world, number))
                if number:  # the first event of its kind builds the orders that the others find
                    report.add(f"{nodes // 1000}k nodes, {tasks // 1000}k tasks: {what} (ms)", "festoon", spent_ms)
                    report.add(f"{nodes // 1000}k nodes, {tasks // 1000}k tasks: {what} (objects looked at)", "festoon", looked)


def _running(nodes: int, tasks: int) -> Planned:
    world = Planned([created(node(i)) for i in range(nodes)], CountedIndex)
    for number in range(SERVICES):
        world.commit(created(service(number, tasks // SERVICES)))
    known = world.store.all(Kind.SERVICE)
    for number in range(tasks):
        world.commit(created(running(known[number % SERVICES], number, number // SERVICES + 1, number % nodes)))
    world.look_anew()
    world.settle()
    gc.collect()
    gc.freeze()
    return world


def _planned(world: Planned, change: Change) -> tuple[float, int]:
    """Milliseconds and objects, until there is nothing left to do."""
    index = world.index
    assert isinstance(index, CountedIndex)
    before, began_s = index.looked, time.process_time()
    world.commit(change)
    world.settle()
    return (time.process_time() - began_s) * 1000, index.looked - before


def _task_dies(world: Planned, number: int) -> Change:
    task = world.store.get(Kind.TASK, f"task{number:021}")
    assert task is not None
    return status_of(task.id, TaskStatus(TaskState.FAILED, world.now_ns, "failed", "task: non-zero exit (1)", exit_code=1))


def _node_goes_down(world: Planned, number: int) -> Change:
    found = world.store.all(Kind.NODE)[500 + number]
    return updated(msgspec.structs.replace(found, status=msgspec.structs.replace(found.status, state=NodeState.DOWN)))


def _scaled(service: Service, by: int) -> Change:
    mode = ServiceMode(ServiceModeKind.REPLICATED, (service.spec.mode.replicas or 0) + by)
    return updated(msgspec.structs.replace(service, spec=msgspec.structs.replace(service.spec, mode=mode), update_status=None))


def _scaled_up(world: Planned, number: int) -> Change:
    return _scaled(world.store.all(Kind.SERVICE)[0], 1)


def _scaled_down(world: Planned, number: int) -> Change:
    return _scaled(world.store.all(Kind.SERVICE)[1], -1)


EVENTS: dict[str, Callable[[Planned, int], Change]] = {
    "a task dies": _task_dies, "a service is scaled up by one": _scaled_up, "a service is scaled down by one": _scaled_down,
    "a node goes down": _node_goes_down,
}  # fmt: skip
