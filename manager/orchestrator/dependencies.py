"""Services that wait for others before their first start (cluster/model/depends_on.py): which do, for whom, and until when.

Owns the meaning of the conditions and their words; never decides where anything runs. A service waits until one of its tasks has been given a node; from then
on it depends on nobody, so that a dependency that fails later never keeps a task from being restarted, updated or moved. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cluster.model import depends_on
from cluster.model.depends_on import Condition, Dependency
from cluster.model.errors import InvalidArgument
from cluster.model.ids import ServiceId
from cluster.model.objects import Service, Task
from cluster.model.specs import ServiceModeKind
from cluster.model.task_state import TaskState, is_wished

if TYPE_CHECKING:
    from manager.index import Index

_VERBS = {Condition.STARTED: "be running", Condition.HEALTHY: "be healthy", Condition.COMPLETED: "complete"}


class DependencyBook:
    """Which services there are by name, and which wait for which name. Owned by the index."""

    def __init__(self) -> None:
        self.by_name: dict[str, ServiceId] = {}
        self.dependents: dict[str, dict[ServiceId, None]] = {}

    def replace(self, id: ServiceId, before: Service | None, after: Service | None) -> None:
        """A service is now so."""
        if before is not None and after is not None and before.spec.labels is after.spec.labels:
            return
        if before is not None:
            self.by_name.pop(before.spec.name, None)
            for dependency in asked(before):
                waiting = self.dependents[dependency.name]
                waiting.pop(id, None)
                if not waiting:
                    del self.dependents[dependency.name]
        if after is not None:
            self.by_name[after.spec.name] = id
            for dependency in asked(after):
                self.dependents.setdefault(dependency.name, {})[id] = None


def asked(service: Service) -> tuple[Dependency, ...]:
    """What a service waits for, each name once; nothing when its label can't be read (which the control API refuses)."""
    try:
        found = depends_on.of(service.spec.labels)
    except InvalidArgument:
        return ()
    return tuple({dependency.name: dependency for dependency in found}.values())


def awaited(index: Index, service_id: ServiceId) -> bool:
    """Whether some service waits for this one."""
    service = index.services.get(service_id)
    return service is not None and service.spec.name in index.dependencies.dependents


def unmet(index: Index, service: Service) -> str:
    """What the service still waits for, in words; empty when for nothing."""
    wanted = asked(service) if service.spec.labels else ()
    if not wanted or _has_begun(index, service.id):
        return ""
    return "; ".join(text for dependency in wanted if (text := _unmet(index, dependency)))


def _has_begun(index: Index, service_id: ServiceId) -> bool:
    return any(task.status.state >= TaskState.ASSIGNED for task in _tasks(index, service_id))


def _tasks(index: Index, service_id: ServiceId) -> Iterator[Task]:
    return (index.tasks[task_id] for ids in index.slots.of(service_id).each() for task_id in ids)


def _unmet(index: Index, dependency: Dependency) -> str:
    service_id = index.dependencies.by_name.get(dependency.name)
    service = index.services.get(service_id) if service_id is not None else None
    if service is None:
        return f"waits for service {dependency.name}, which does not exist"
    done = sum(any(_meets(index.tasks[id_], service, dependency.condition) for id_ in ids) for ids in index.slots.of(service.id).each())
    wanted = _wanted(index, service)
    if done >= wanted:
        return ""
    return f"waits for service {dependency.name} to {_VERBS[dependency.condition]} ({done} of {wanted} tasks)"


def _meets(task: Task, service: Service, condition: Condition) -> bool:
    """A task with a health check is STARTING while its container runs and is not known to be healthy."""
    state = task.status.state
    if task.job_iteration != service.job_iteration:
        return False
    if condition is Condition.COMPLETED:
        return state is TaskState.COMPLETE
    if state is TaskState.COMPLETE:
        return service.spec.mode.kind.is_job
    if not is_wished(task.desired_state):
        return False
    checked = task.spec.container.health is not None
    return state is TaskState.RUNNING or (condition is Condition.STARTED and checked and state is TaskState.STARTING)


def _wanted(index: Index, service: Service) -> int:
    """Slots that the service is to fill; at least one of a global service, so that one that has just been made is waited for."""
    mode = service.spec.mode
    if mode.kind in (ServiceModeKind.GLOBAL, ServiceModeKind.GLOBAL_JOB):
        return max(index.slots.of(service.id).number_kept, 1)
    return 1 if mode.replicas is None else mode.replicas
