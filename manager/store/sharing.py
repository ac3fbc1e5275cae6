"""What many tasks have in common is kept once: their service's specification and the words and ids that recur.

A store of a hundred thousand tasks is a third smaller for it. Owns which fields those are; never changes what a task says. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from sys import intern
from typing import Any, Final

import msgspec

from cluster.model.ids import ServiceId
from cluster.model.objects import Meta, Service, Task, TaskNetwork, TaskStatus
from cluster.model.specs import TaskSpec

_intern: Final[Callable[[str], Any]] = intern
"""Of an id, the same sort of id."""


def as_shared(task: Task, spec: TaskSpec, meta: Meta, status: TaskStatus, service_id: ServiceId, service_name: str) -> Task:
    """The task over the shared words, with these in the place of its own: what is equal to them and shared already."""
    history = tuple(shared_status(status, task.status) for status in task.history) if task.history else ()
    return msgspec.structs.replace(
        task,
        spec=spec,
        meta=meta,
        service_id=service_id,
        service_name=service_name,
        node_id=_intern(task.node_id) if task.node_id else task.node_id,
        status=status,
        networks=tuple(_network(network) for network in task.networks) if task.networks else (),
        history=history,
        cause=_intern(task.cause),
        stop_cause=_intern(task.stop_cause) if task.stop_cause else "",
    )


def beside(service: Service, other: Service | None) -> Service:
    """The service over what its tasks run, where `other` runs the same: of services that come one after the other many do."""
    spec = service.spec
    if other is None or other.spec.task is spec.task or other.spec.task != spec.task:
        return service
    return msgspec.structs.replace(service, spec=msgspec.structs.replace(spec, task=other.spec.task))


def of_service(task: Task, service: object, meta: Meta, status: TaskStatus) -> Task:
    """A new task over the shared words, those of its service first, if there is one."""
    if type(service) is not Service:
        return as_shared(task, task.spec, meta, status, _intern(task.service_id), _intern(task.service_name))
    spec, name = service.spec.task, service.spec.name
    spec = spec if task.spec is spec or task.spec == spec else task.spec
    return as_shared(task, spec, meta, status, service.id, name if task.service_name == name else _intern(task.service_name))


def over(before: Task, after: Task, meta: Meta, status: TaskStatus, history: tuple[TaskStatus, ...]) -> Task:
    """The same for a task that was `before`: what has stayed as it was is shared already. Where it is even the same object, as in what a leader plans, nobody
    looks into it."""
    node_id = before.node_id if after.node_id == before.node_id else _intern(after.node_id)
    networks = before.networks if after.networks == before.networks else tuple(_network(network) for network in after.networks)
    if after.spec is before.spec and after.service_name is before.service_name and after.cause is before.cause and after.stop_cause is before.stop_cause:
        return msgspec.structs.replace(after, meta=meta, node_id=node_id, status=status, networks=networks, history=history)
    return msgspec.structs.replace(
        after,
        spec=before.spec if after.spec == before.spec else after.spec,
        meta=meta,
        service_id=before.service_id,
        service_name=_intern(after.service_name),
        node_id=node_id,
        status=status,
        networks=networks,
        history=history,
        cause=_intern(after.cause),
        stop_cause=_intern(after.stop_cause),
    )


def stamped(meta: Meta, version: int, created: int) -> Meta:
    """As of this version, with one number for two equal times."""
    at_ns = meta.created_at_ns
    return Meta(version, at_ns, at_ns if meta.updated_at_ns == at_ns else meta.updated_at_ns, created)


def shared_status(status: TaskStatus, beside: TaskStatus) -> TaskStatus:
    """An equal status; the container's id is that of the status `beside` it where they are the same."""
    message = _intern(status.message)
    if message is status.message and not status.container_id and not status.pid:
        return status  # as those of a plan: there is nothing else that could be shared
    container_id = beside.container_id if status.container_id == beside.container_id else status.container_id
    pid = beside.pid if status.pid == beside.pid else status.pid
    if message is status.message and container_id is status.container_id and pid is status.pid:
        return status
    return msgspec.structs.replace(status, message=message, container_id=container_id, pid=pid)


def _network(network: TaskNetwork) -> TaskNetwork:
    return msgspec.structs.replace(network, network_id=_intern(network.network_id))


def with_shared(services: Iterable[Service], tasks: Iterable[Task]) -> Iterator[Task]:
    """The tasks over shared words, with one specification for all that have an equal one of the same service: a restored store is as small as a
    grown one.
    """
    known: dict[tuple[str, int], TaskSpec] = {(service.id, service.spec_version): service.spec.task for service in services}
    numbers: dict[int, int] = {}  # entries' indexes and slots: many tasks have the same
    for task in tasks:
        spec = known.setdefault((task.service_id, task.spec_version), task.spec)
        version, created, slot, of_spec = (numbers.setdefault(n, n) for n in (task.meta.version, task.meta.created, task.slot, task.spec_version))
        spec, meta = spec if spec == task.spec else task.spec, stamped(task.meta, version, created)
        once = as_shared(task, spec, meta, shared_status(task.status, task.status), _intern(task.service_id), _intern(task.service_name))
        yield msgspec.structs.replace(once, slot=slot, spec_version=of_spec)
