"""What a node carries: its tasks, what they reserve, the host ports that they hold.

Owns the sums of one node; never decides. A task holds its reservation and host ports from ASSIGNED until it has
stopped, whatever is wished of it; it counts for the ranking only while it is wished to run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from cluster.model.ids import ServiceId, TaskId
from cluster.model.objects import Task
from cluster.model.specs import PublishMode, Resources
from cluster.model.task_state import ASSIGNED, RUNNING, is_wished
from manager.scheduler.generic import Name

HostPort = tuple[str, int]
"""(protocol, published port)"""


_NONE: Final = Resources()
_Key = TypeVar("_Key")


def holds_node(task: Task) -> bool:
    """Whether the task occupies its node: assigned and not known to have stopped."""
    return bool(task.node_id) and ASSIGNED <= task.status.state <= RUNNING


def host_ports(task: Task) -> tuple[HostPort, ...]:
    """The ports of its node that this task publishes in host mode with a number of its user's choice."""
    if task.endpoint is None or not task.endpoint.ports:
        return ()
    return tuple(
        (p.protocol, p.published_port)
        for p in task.endpoint.ports
        if p.publish_mode is PublishMode.HOST and p.published_port
    )


class NodeUse:
    """The sums of one node."""

    __slots__ = ("active", "by_service", "cpus", "generic", "memory", "names", "ports", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[TaskId, None] = {}
        self.cpus = 0  # nano CPUs
        self.memory = 0  # bytes
        self.active = 0
        self.by_service: dict[ServiceId, int] = {}
        self.ports: dict[HostPort, int] = {}
        self.generic: dict[str, int] = {}  # generic resources reserved, by kind
        self.names: dict[Name, int] = {}  # those of them that have names

    def add(self, task: Task) -> None:
        self.tasks[task.id] = None
        if task.spec.reservations is not None or task.endpoint is not None:
            self._reserve(task, 1)
        if is_wished(task.desired_state):
            self.active += 1
            self.by_service[task.service_id] = self.by_service.get(task.service_id, 0) + 1

    def remove(self, task: Task) -> None:
        del self.tasks[task.id]
        if task.spec.reservations is not None or task.endpoint is not None:
            self._reserve(task, -1)
        if is_wished(task.desired_state):
            self.active -= 1
            _count(self.by_service, task.service_id, -1)

    def claim(self, reserve: Resources, ports: Iterable[HostPort], sign: int) -> None:
        """Reserve this (sign 1) or give it back (-1), for a task that is not here."""
        self.cpus += sign * reserve.nano_cpus
        self.memory += sign * reserve.memory_bytes
        for port in ports:
            _count(self.ports, port, sign)
        for one in reserve.generic:
            _count(self.generic, one.kind, sign * one.count)

    def without(self, tasks: Iterable[Task]) -> NodeUse:
        """The sums of the node if these were gone."""
        rest = NodeUse()
        rest.cpus, rest.memory, rest.active = self.cpus, self.memory, self.active
        rest.tasks, rest.by_service, rest.ports = dict(self.tasks), dict(self.by_service), dict(self.ports)
        rest.generic, rest.names = dict(self.generic), dict(self.names)
        for task in tasks:
            rest.remove(task)
        return rest

    def _reserve(self, task: Task, sign: int) -> None:
        self.claim(task.spec.reservations or _NONE, host_ports(task), sign)
        for one in task.generic:
            if one.name:
                _count(self.names, (one.kind, one.name), sign)


def _count(counts: dict[_Key, int], key: _Key, change: int) -> None:
    """What comes to nothing is left out."""
    count = counts.get(key, 0) + change
    if count:
        counts[key] = count
    else:
        counts.pop(key, None)
