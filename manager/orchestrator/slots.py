"""Tasks by service and slot: which slots a service occupies.

Owns the grouping; never decides. A slot is occupied while one of its tasks is not on its way out (desired below
REMOVE): also a slot whose last task finished for good.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.model.ids import ServiceId, TaskId
from cluster.model.objects import Task
from cluster.model.task_state import TaskState
from manager.orchestrator.agenda import SlotKey


def slot_key(task: Task) -> SlotKey:
    """What tells the places of one service apart: the slot number, or the node of a global service's task."""
    return task.slot or task.node_id


def in_order(keys: Iterable[SlotKey]) -> list[SlotKey]:
    """Slot numbers ascending, then node ids: the order in which slots are looked at, whatever way they came about."""
    return sorted(keys, key=lambda key: (isinstance(key, str), key))


class ServiceSlots:
    """One service's tasks by slot, and how many of each slot are not on their way out."""

    __slots__ = ("kept", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[SlotKey, dict[TaskId, None]] = {}
        self.kept: dict[SlotKey, int] = {}


class SlotBook:
    """All services' slots. Owned by the index."""

    def __init__(self) -> None:
        self.services: dict[ServiceId, ServiceSlots] = {}

    def of(self, service_id: ServiceId) -> ServiceSlots:
        """The slots of this service; empty ones when it has no task."""
        return self.services.get(service_id) or ServiceSlots()

    def add(self, task: Task) -> None:
        slots = self.services.get(task.service_id)
        if slots is None:
            slots = self.services[task.service_id] = ServiceSlots()
        key = slot_key(task)
        slots.tasks.setdefault(key, {})[task.id] = None
        if task.desired_state < TaskState.REMOVE:
            slots.kept[key] = slots.kept.get(key, 0) + 1

    def remove(self, task: Task) -> None:
        slots = self.services[task.service_id]
        key = slot_key(task)
        ids = slots.tasks[key]
        del ids[task.id]
        if not ids:
            del slots.tasks[key]
        if task.desired_state < TaskState.REMOVE:
            if slots.kept[key] == 1:
                del slots.kept[key]
            else:
                slots.kept[key] -= 1
        if not slots.tasks:
            del self.services[task.service_id]

    def move(self, before: Task, after: Task) -> None:
        """The same task, changed (its slot never is)."""
        was, now = before.desired_state < TaskState.REMOVE, after.desired_state < TaskState.REMOVE
        if was is not now:
            self.remove(before)
            self.add(after)
